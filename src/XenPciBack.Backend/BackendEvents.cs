using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend;

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

        /// <summary>null where xenstore has none.</summary>
        public string? Name { get; init; }

        public Topology Topology { get; init; }
    }

    /// <summary>A function of the host has reported an error, whoever has it.</summary>
    public sealed record DeviceError(AerError Error)
    {
        /// <summary>Not one more of a storm that has been told of.</summary>
        public bool IsNews { get; init; } = true;

        /// <summary>The devices of guests that it may have reached.</summary>
        public ImmutableArray<DeviceOfGuest> Concerned { get; init; } = [];

        /// <summary>A guest is ended for it, as <see cref="GuestKilled"/> will tell.</summary>
        public bool EndsGuest { get; init; }
    }

    public sealed record DeviceOfGuest(DomainId Guest, HostBdf Device);

    /// <summary>A device has not answered an access for long; its guest waits.</summary>
    /// <param name="Access">For example "a read of register 0x10".</param>
    public sealed record DeviceSlow(DomainId Guest, HostBdf Device, string Access, TimeSpan Lasted);

    /// <summary>A guest's driver has taken its device through an error.</summary>
    public sealed record DeviceRecovered(DomainId Guest, HostBdf Device);

    /// <summary>A guest was crashed because its device was lost.</summary>
    public sealed record GuestKilled(DomainId Guest, HostBdf Device, string Reason)
    {
        /// <summary>Why it could not be crashed after all, so that it goes on without the device; null: it was.</summary>
        public string? Fault { get; init; }

        /// <summary>From the actor that was told of the loss to the one that has decided, what each of them did.</summary>
        public ImmutableArray<string> Path { get; init; } = [];
    }

    /// <summary>No guest gets the device until an operator has looked at it.</summary>
    public sealed record DeviceQuarantined(QuarantinedDevice Device);

    /// <summary>An actor has failed and another one goes on in its place.</summary>
    /// <param name="Actor">Its class.</param>
    /// <param name="Guest">Whom it served; null if it served all.</param>
    public sealed record ActorReplaced(string Actor, DomainId? Guest, string Cause, ImmutableArray<string> Path);

    /// <summary>A guest is served no longer, because its actor has failed too often.</summary>
    public sealed record GuestAbandoned(DomainId Guest, string Cause, ImmutableArray<string> Path);

    /// <summary>A guest breaks the protocol; each way of it is told once for each guest.</summary>
    public sealed record GuestMisbehaved(DomainId Guest, string What);

    /// <summary>The guest's backend directory is gone and everything of it was released.</summary>
    public sealed record GuestGone(DomainId Guest);
}
