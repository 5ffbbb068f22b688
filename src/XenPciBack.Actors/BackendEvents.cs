using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Actors;

/// <summary>What the backend tells whoever watches it; published on the actor system's event stream.</summary>
public static class BackendEvents
{
    /// <summary>The guests that were there have been found, and new ones will be.</summary>
    public sealed record Ready
    {
        public static readonly Ready Instance = new();
    }

    /// <summary>A connection changed its state or its devices.</summary>
    public sealed record GuestChanged(DomainId Guest, XenbusState State, ImmutableArray<SlotMember> Devices);

    /// <summary>The guest's backend directory is gone and everything of it was released.</summary>
    public sealed record GuestGone(DomainId Guest);
}
