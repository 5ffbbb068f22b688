using System.Collections.Immutable;

namespace XenPciBack.Simulation.Guests;

/// <summary>A device as the guest's PCI core has decoded it while enumerating.</summary>
public sealed record GuestPciDevice
{
    /// <summary>As the guest sees it: <c>0000:00:01.0</c>.</summary>
    public required string Address { get; init; }

    public required ushort VendorId { get; init; }
    public required ushort DeviceId { get; init; }

    /// <summary>Base class, subclass and programming interface: 24 bits.</summary>
    public required uint ClassCode { get; init; }
    public required byte Revision { get; init; }

    /// <summary>0 for a device, 1 for a bridge; without the multi-function bit.</summary>
    public required byte HeaderType { get; init; }

    /// <summary>1 to 4 for INTA to INTD, 0 for none.</summary>
    public required byte InterruptPin { get; init; }
    public required byte InterruptLine { get; init; }
    public required ImmutableArray<GuestBar> Bars { get; init; }
    public required ImmutableArray<GuestCapability> Capabilities { get; init; }

    internal static string Format(uint domain, uint bus, uint devFn) => $"{domain:x4}:{bus:x2}:{devFn >> 3:x2}.{devFn & 7:x1}";
}

/// <summary>A BAR with its size found by writing all ones. The expansion ROM has <see cref="Index"/> 6.</summary>
public sealed record GuestBar(int Index, ulong Address, ulong Size, bool IsIo = false, bool Is64Bit = false, bool IsPrefetchable = false)
{
    public const int Rom = 6;
}

/// <summary>An entry of the capability list, or of the extended one.</summary>
/// <param name="Text">What lspci says about it.</param>
public sealed record GuestCapability(int Offset, int Id, bool IsExtended, string Text);
