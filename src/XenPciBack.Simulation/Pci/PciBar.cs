using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Simulation.Pci;

internal enum PciBarKind
{
    Io,
    Memory32,
    Memory64,
    Memory64Prefetchable,
    Rom,
}

/// <summary>A BAR or the expansion ROM.</summary>
/// <param name="Index">0 to 5, or <see cref="Rom"/>.</param>
/// <param name="Size">Bytes; a power of two.</param>
internal sealed record PciBar(int Index, PciBarKind Kind, ulong Size)
{
    /// <summary>The index of the expansion ROM in the host's resource table.</summary>
    public const int Rom = 6;

    public bool Is64Bit => Kind is PciBarKind.Memory64 or PciBarKind.Memory64Prefetchable;

    /// <summary>
    /// Puts the register(s) there. The address bits below the size do not exist, which is all there is to BAR sizing: all
    /// ones written, the size can be read.
    /// </summary>
    public void Define(ConfigRegisters registers, ulong address, bool isBridge)
    {
        var offset = Index == Rom ? (isBridge ? 0x38 : 0x30) : 0x10 + 4 * Index;
        var changeable = ~(Size - 1);
        var romEnable = Kind == PciBarKind.Rom ? 1u : 0;
        registers.Define(offset, 4, (uint)address | TypeBits, writable: (uint)changeable | romEnable);
        if (Is64Bit) registers.Define(offset + 4, 4, (uint)(address >> 32), writable: (uint)(changeable >> 32));
    }

    /// <summary>The line of the host's resource table, with the flags Linux gives such a BAR (include/linux/ioport.h).</summary>
    public PciResource ResourceAt(ulong address) => new(address, address + Size - 1, Kind switch
    {
        PciBarKind.Io => 0x40101,
        PciBarKind.Memory32 => 0x40200,
        PciBarKind.Memory64 => 0x140204,
        PciBarKind.Memory64Prefetchable => 0x14220C,
        _ => 0x46200,
    });

    private uint TypeBits => Kind switch
    {
        PciBarKind.Io => 0x1,
        PciBarKind.Memory64 => 0x4,
        PciBarKind.Memory64Prefetchable => 0xC,
        _ => 0x0,
    };
}
