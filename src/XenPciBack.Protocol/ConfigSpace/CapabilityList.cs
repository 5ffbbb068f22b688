using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>The chain of capabilities in the first 256 bytes of a function's config space, and that of the extended ones behind.</summary>
internal static class CapabilityList
{
    private const uint HasList = 0x10;

    // 48 capabilities of 4 bytes fill the space behind the header; a longer chain is a loop.
    private const int MostCapabilities = 48;

    private const int FirstExtended = 0x100, MostExtendedCapabilities = (4096 - FirstExtended) / 8;

    /// <summary>Offset of the first capability with this id, 0 if there is none.</summary>
    public static int Find(IPciFunction function, uint id)
    {
        if (function.Read(Register.Status, 2, out var status) != PciOpError.Success || (status & HasList) == 0) return 0;
        if (function.Read(Register.CapabilityPointer, 1, out var next) != PciOpError.Success) return 0;
        for (var i = 0; i < MostCapabilities && next >= Register.HeaderEnd; i++)
        {
            var offset = (int)(next & ~3u);
            if (function.Read(offset, 2, out var header) != PciOpError.Success) return 0;
            if ((header & 0xFF) == 0xFF) return 0;
            if ((header & 0xFF) == id) return offset;
            next = header >> 8;
        }
        return 0;
    }

    /// <summary>Offset of the first extended capability with this id, 0 if there is none.</summary>
    public static int FindExtended(IPciFunction function, uint id)
    {
        var offset = FirstExtended;
        for (var i = 0; i < MostExtendedCapabilities && offset >= FirstExtended && offset < function.ConfigSize; i++)
        {
            if (function.Read(offset, 4, out var header) != PciOpError.Success || header is 0 or uint.MaxValue) return 0;
            if ((header & 0xFFFF) == id) return offset;
            offset = (int)(header >> 20) & ~3;
        }
        return 0;
    }
}
