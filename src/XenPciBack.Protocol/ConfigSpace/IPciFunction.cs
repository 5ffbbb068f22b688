using System.Collections.Immutable;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// One PCI function of the host, as the config-space rules see it. Implemented by sysfs on a real host and by the device
/// models of the simulator. A handle belongs to one owner, which uses it from one thread at a time.
/// </summary>
public interface IPciFunction : IDisposable
{
    /// <summary>What the host knows of the function; the same as long as it is open.</summary>
    PciFunctionFacts Facts { get; }

    HostBdf Bdf => Facts.Bdf;
    ushort VendorId => Facts.VendorId;
    ushort DeviceId => Facts.DeviceId;
    int ConfigSize => Facts.ConfigSize;
    bool IsVirtualFunction => Facts.IsVirtualFunction;
    ImmutableArray<HostBdf> Bridges => Facts.Bridges;
    ImmutableArray<PciResource> Resources => Facts.Resources;
    ImmutableArray<string> LineSharers => Facts.LineSharers;
    byte CacheLineSize => Facts.CacheLineSize;

    /// <summary>
    /// The memory bit of the command register as it is in hardware, read anew at each call. A VF has none of its own: the bit of
    /// its physical function, false if that cannot be read.
    /// </summary>
    bool DecodesMemory { get; }

    /// <summary>The host's current Linux IRQ number of the device, 0 if it has none. Read anew at each call.</summary>
    int Irq { get; }

    /// <summary>
    /// Reads a register. <paramref name="size"/> is 1, 2 or 4 and <paramref name="offset"/> a multiple of it below 4096. Above
    /// <see cref="ConfigSize"/> a read gives all ones. A function that has gone away gives
    /// <see cref="PciOpError.DeviceNotFound"/>, any other host failure the negated errno.
    /// </summary>
    PciOpError Read(int offset, int size, out uint value);

    /// <summary>The registers as they are, <see cref="ConfigSize"/> bytes in one go; all ones where the device does not answer.</summary>
    ImmutableArray<byte> ReadAll();

    /// <summary>Writes a register; the same rules as <see cref="Read"/>. A write above <see cref="ConfigSize"/> is dropped.</summary>
    PciOpError Write(int offset, int size, uint value);

    /// <summary>Resets the function if the host knows a way.</summary>
    /// <returns>null if it was reset, else why not, in words for a log.</returns>
    string? TryReset();
}

/// <summary>What the host knows of a function without asking it, as it was when the function was opened.</summary>
/// <param name="VendorId">As the host kernel caches it; valid for SR-IOV VFs, whose register reads 0xFFFF.</param>
/// <param name="DeviceId">As the host kernel caches it.</param>
/// <param name="ConfigSize">Bytes of config space the host can reach: 256 or 4096.</param>
/// <param name="IsVirtualFunction">SR-IOV virtual function.</param>
/// <param name="Bridges">Those between the root bus and the function.</param>
/// <param name="Resources">BAR 0..5, then the expansion ROM; always 7 entries, empty ones included.</param>
/// <param name="LineSharers">The names of host drivers that listen on the function's INTx line too.</param>
/// <param name="CacheLineSize">The host's, in units of 4 bytes, as the PCI register counts it.</param>
public sealed record PciFunctionFacts(
    HostBdf Bdf, ushort VendorId, ushort DeviceId, int ConfigSize, bool IsVirtualFunction, ImmutableArray<HostBdf> Bridges, ImmutableArray<PciResource> Resources,
    ImmutableArray<string> LineSharers, byte CacheLineSize);

/// <summary>
/// One line of the host's resource table (sysfs <c>resource</c>): first and last address, and the kernel's flags
/// (include/linux/ioport.h), whose low four bits are the type bits of the BAR register.
/// </summary>
public readonly record struct PciResource(ulong Start, ulong End, ulong Flags)
{
    private const ulong Disabled = 0x1000_0000, Unset = 0x2000_0000, Busy = 0x8000_0000;

    /// <summary>I/O port space (IORESOURCE_IO).</summary>
    public bool IsIo => (Flags & 0x100) != 0;

    /// <summary>Memory space (IORESOURCE_MEM).</summary>
    public bool IsMemory => (Flags & 0x200) != 0;

    /// <summary>The host found no address for it (IORESOURCE_UNSET).</summary>
    public bool IsUnassigned => (Flags & Unset) != 0;

    /// <summary>It has an address that a guest may be shown.</summary>
    public bool IsUsable => Flags != 0 && (Flags & (Disabled | Unset | Busy)) == 0;

    /// <summary>A 64-bit memory BAR: the next register holds the upper half of its address.</summary>
    public bool Is64Bit => (Flags & 0x7) == 0x4;

    /// <summary>Size in bytes; 0 for an empty line.</summary>
    public ulong Size => Flags == 0 ? 0 : End - Start + 1;
}
