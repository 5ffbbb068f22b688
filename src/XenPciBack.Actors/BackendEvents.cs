using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
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
    public sealed record GuestChanged(DomainId Guest, XenbusState State, ImmutableArray<SlotMember> Devices)
    {
        /// <summary>It has been so before, and somebody who is new hears of it.</summary>
        public bool IsOld { get; init; }
    }

    /// <summary>A function of the host has reported an error, whoever has it.</summary>
    public sealed record DeviceError(AerError Error);

    /// <summary>A guest's driver has taken its device through an error.</summary>
    public sealed record DeviceRecovered(DomainId Guest, HostBdf Device);

    /// <summary>A guest was crashed because its device was lost.</summary>
    public sealed record GuestKilled(DomainId Guest, HostBdf Device, string Reason);

    /// <summary>The guest's backend directory is gone and everything of it was released.</summary>
    public sealed record GuestGone(DomainId Guest);
}
