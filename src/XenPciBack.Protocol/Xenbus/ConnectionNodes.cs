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
    /// <summary>The guest's name, node <c>domain</c>.</summary>
    public string? GuestName { get; init; }

    /// <summary>The nodes <c>root-N</c>, 0 to <c>root_num</c>-1: written by the backend, read by one that takes over.</summary>
    public ImmutableArray<string?> Roots { get; init; } = [];

    /// <summary>What kind of domain it is, <c>/libxl/&lt;domid&gt;/type</c>: <c>pv</c>, <c>pvh</c> or <c>hvm</c>; null with a toolstack that does not say.</summary>
    public string? GuestType { get; init; }

    /// <summary>More entries than a virtual bus has functions are a toolstack's mistake, not a list to read.</summary>
    public const int MostDevices = 256;

    /// <summary>No device needs more than one root.</summary>
    public const int MostRoots = MostDevices;

    public bool Equals(BackendNodes? other) => other is not null
        && (Frontend, FrontendId, Online, State, DeviceCount, GuestName, GuestType) == (other.Frontend, other.FrontendId, other.Online, other.State, other.DeviceCount, other.GuestName, other.GuestType)
        && Devices.SequenceEqual(other.Devices) && Roots.SequenceEqual(other.Roots);

    public override int GetHashCode() => HashCode.Combine(Frontend, State, DeviceCount);

    private static readonly string[] Names = ["frontend", "frontend-id", "online", "state", "domain", "num_devs", "root_num"], Prefixes = ["dev-", "state-", "vdev-", "opts-", "root-"];

    /// <summary>Whether a node of that name has a meaning here.</summary>
    public static bool Knows(string name) => Names.Contains(name) || Prefixes.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal));
}

/// <summary>
/// The nodes of one entry: <c>dev-N</c>, <c>state-N</c>, <c>vdev-N</c>, <c>opts-N</c>. The index is a position, never an identity:
/// libxl moves entries down.
/// </summary>
public sealed record DeviceNodes(int Index, string? Device, string? State, string? VirtualDevice, string? Options = null)
{
    /// <summary>The toolstack's <c>permissive=1</c> among options such as <c>msitranslate=0,power_mgmt=0</c>.</summary>
    public bool IsPermissive => Options is not null && Options.Split(',').Any(option => option.Trim() == "permissive=1");
}

/// <summary>The frontend's directory. Everything in it is written by the guest.</summary>
public sealed record FrontendNodes(string? State, string? GrantReference, string? EventChannel, string? Magic);
