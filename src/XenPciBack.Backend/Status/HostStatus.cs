using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Status;

/// <summary>Everything a daemon can say of its host at one moment: what <c>xenpciback status</c> prints, and what a monitor of many hosts keeps of each.</summary>
/// <param name="Host">The host's name.</param>
/// <param name="Version">The daemon's version.</param>
/// <param name="Xen">The hypervisor's version.</param>
/// <param name="Since">When this daemon began to serve.</param>
/// <param name="At">When all this was so.</param>
/// <param name="Number">Counts the statuses of one daemon from 1; a later one replaces an earlier one.</param>
public sealed record HostStatus(
    string Host, string Version, string Xen, DateTimeOffset Since, DateTimeOffset At, long Number, ImmutableArray<GuestStatus> Guests, ImmutableArray<QuarantinedDevice> Quarantine);

/// <summary>A guest's connection.</summary>
/// <param name="Name">null where xenstore has none.</param>
/// <param name="Since">When this daemon began to serve it.</param>
/// <param name="Operations">How many operations of each kind were answered since then, by opcode and result, for example <c>conf_read</c> and <c>ok</c>.</param>
/// <param name="Rate">Operations a second, over the last few seconds.</param>
/// <param name="Latency">From event to answer, over the last few seconds; null if there was no operation.</param>
public sealed record GuestStatus(
    DomainId Domain, string? Name, XenbusState State, Topology Topology, DateTimeOffset Since, ImmutableArray<DeviceStatus> Devices, ImmutableArray<OperationCount> Operations, double Rate,
    LatencyStatus? Latency);

/// <summary>A device of a guest.</summary>
/// <param name="VendorId">PCI configuration space, offset 0x00.</param>
/// <param name="DeviceId">Offset 0x02.</param>
/// <param name="ClassCode">Offset 0x09, three bytes: class, subclass, programming interface.</param>
/// <param name="Interrupts">What it interrupts with: <c>none</c>, <c>line</c>, <c>MSI</c> or <c>MSI-X</c>.</param>
/// <param name="Vectors">How many messages are on.</param>
/// <param name="IsRecovering">Its guest's driver is being taken through an error.</param>
public sealed record DeviceStatus(
    HostBdf Device, VirtualBdf Virtual, ushort VendorId, ushort DeviceId, uint ClassCode, string Interrupts,
    int Vectors, bool IsRecovering)
{
    /// <summary>For how many seconds the device has not answered the present access; null if that is no slow
    /// one.</summary>
    public double? UnansweredSeconds { get; init; }
}

public sealed record OperationCount(string Operation, string Result, long Count);

/// <summary>In microseconds.</summary>
public sealed record LatencyStatus(double Median, double P99, double Longest);

public enum IncidentKind
{
    /// <summary>A device has reported an error, and nobody had to be ended for it.</summary>
    DeviceError,

    /// <summary>A guest's driver has taken its device through an error.</summary>
    Recovered,

    /// <summary>A device has not answered an access for long; its guest waits.</summary>
    DeviceSlow,

    /// <summary>A guest was crashed because its device was lost.</summary>
    GuestKilled,

    /// <summary>A device was put into quarantine.</summary>
    Quarantined,

    /// <summary>An actor has failed and was started again; its guest noticed nothing.</summary>
    Restarted,

    /// <summary>A guest of an earlier daemon was taken up.</summary>
    Adopted,

    /// <summary>A guest breaks the protocol.</summary>
    Misbehaved,

    /// <summary>A guest is served no longer, because its actor has failed too often.</summary>
    Abandoned,
}

/// <summary>Something an operator should hear of.</summary>
/// <param name="Number">Counts the incidents of one daemon from 1.</param>
/// <param name="Summary">One sentence.</param>
/// <param name="Details">For example each bit of a decoded error status; a line each.</param>
/// <param name="Path">How a failure went up the supervision, from the device to the one who decided; empty where nothing failed.</param>
public sealed record Incident(
    long Number, DateTimeOffset At, IncidentKind Kind, DomainId? Guest, HostBdf? Device, string Summary, ImmutableArray<string> Details, ImmutableArray<string> Path);

/// <summary>A device's config space as its guest sees it.</summary>
/// <param name="Guest">What the guest reads, 256 or 4096 bytes.</param>
/// <param name="Device">What the device has, as many.</param>
/// <param name="Fields">Named registers in ascending order; they do not overlap.</param>
public sealed record ConfigView(DomainId Domain, HostBdf Function, ImmutableArray<byte> Guest, ImmutableArray<byte> Device, ImmutableArray<ConfigField> Fields);

/// <param name="Offset">In bytes.</param>
/// <param name="Size">In bytes.</param>
/// <param name="Rule">Why it is not simply the device's register; null where it is.</param>
public sealed record ConfigField(int Offset, int Size, string Name, string? Rule);
