namespace XenPciBack.Simulation.Pci;

/// <summary>Hands out addresses to BARs as firmware does: aligned to their size, 64-bit prefetchable ones above 4 GiB.</summary>
internal sealed class HostAddressSpace
{
    private ulong _nextPort = 0xC000;
    private ulong _nextMemory = 0xFE00_0000;
    private ulong _nextHighMemory = 0x38_0000_0000;

    public ulong Assign(PciBar bar) => bar.Kind switch
    {
        PciBarKind.Io => Take(ref _nextPort, bar.Size),
        PciBarKind.Memory64Prefetchable => Take(ref _nextHighMemory, bar.Size),
        _ => Take(ref _nextMemory, bar.Size),
    };

    private static ulong Take(ref ulong next, ulong size)
    {
        // No two BARs share a page: a guest is given whole pages (XSA-461).
        var alignment = Math.Max(size, next < 0x1_0000 ? size : 4096);
        var address = (next + alignment - 1) & ~(alignment - 1);
        next = address + size;
        return address;
    }
}
