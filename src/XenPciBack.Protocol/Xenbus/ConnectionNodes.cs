using System.Collections.Immutable;

namespace XenPciBack.Protocol.Xenbus;

/// <summary>
/// The backend directory of one guest, <c>backend/pci/&lt;domid&gt;/&lt;devid&gt;</c>, as read in one transaction. Node texts are kept
/// as they are: a missing node is null, and what they mean is for <see cref="GuestConnection"/> to say.
/// </summary>
/// <param name="Devices">The entries 0..num_devs-1; empty if <c>num_devs</c> says nothing usable.</param>
public sealed record BackendNodes(
    string? Frontend, string? FrontendId, string? Online, string? State, string? DeviceCount, ImmutableArray<DeviceNodes> Devices)
{
    /// <summary>More entries than a virtual bus has functions are a toolstack's mistake, not a list to read.</summary>
    public const int MostDevices = 256;
}

/// <summary>The nodes of one entry: <c>dev-N</c>, <c>state-N</c>, <c>vdev-N</c>. The index is a position, never an identity: libxl moves entries down.</summary>
public sealed record DeviceNodes(int Index, string? Device, string? State, string? VirtualDevice);

/// <summary>The frontend's directory. Everything in it is written by the guest.</summary>
public sealed record FrontendNodes(string? State, string? GrantReference, string? EventChannel, string? Magic);
