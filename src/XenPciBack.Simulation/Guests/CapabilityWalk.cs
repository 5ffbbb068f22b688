using System.Collections.Immutable;

namespace XenPciBack.Simulation.Guests;

/// <summary>Follows both capability lists and says of each entry what lspci would.</summary>
/// <param name="read">Reads 4 bytes at an offset that is a multiple of 4; all ones on error.</param>
internal sealed class CapabilityWalk(Func<int, Task<uint>> read)
{
    private const uint AllOnes = 0xFFFFFFFF;

    public async Task<ImmutableArray<GuestCapability>> RunAsync()
    {
        var found = ImmutableArray.CreateBuilder<GuestCapability>();
        await WalkConventionalAsync(found).ConfigureAwait(false);
        if (found.Any(c => c.Id == 0x10)) await WalkExtendedAsync(found).ConfigureAwait(false);
        return found.ToImmutable();
    }

    private async Task WalkConventionalAsync(ImmutableArray<GuestCapability>.Builder found)
    {
        const uint hasList = 0x10_0000;
        if ((await read(0x04).ConfigureAwait(false) & hasList) == 0) return;
        var next = await read(0x34).ConfigureAwait(false) & 0xFC;
        for (var left = 48; left > 0 && next >= 0x40; left--)
        {
            var offset = (int)next;
            var header = await read(offset).ConfigureAwait(false);
            var id = (int)(header & 0xFF);
            if (id == 0xFF) return;
            found.Add(new GuestCapability(offset, id, IsExtended: false, Describe(id, header)));
            next = header >> 8 & 0xFC;
        }
    }

    private async Task WalkExtendedAsync(ImmutableArray<GuestCapability>.Builder found)
    {
        var offset = 0x100;
        for (var left = 480; left > 0 && offset >= 0x100; left--)
        {
            var header = await read(offset).ConfigureAwait(false);
            if (header is 0 or AllOnes) return;
            var id = (int)(header & 0xFFFF);
            found.Add(new GuestCapability(offset, id, IsExtended: true, await DescribeExtendedAsync(id, offset).ConfigureAwait(false)));
            offset = (int)(header >> 20) & 0xFFC;
        }
    }

    /// <param name="header">The first 4 bytes: id, next pointer, and the 16-bit register behind them.</param>
    private static string Describe(int id, uint header)
    {
        var control = header >> 16;
        return id switch
        {
            0x01 => $"Power Management version {control & 0x7}",
            0x03 => "Vital Product Data",
            0x05 => $"MSI: Enable{Sign(control & 0x1)} Count={1 << (int)(control >> 4 & 7)}/{1 << (int)(control >> 1 & 7)} Maskable{Sign(control & 0x100)} 64bit{Sign(control & 0x80)}",
            0x09 => $"Vendor Specific Information: Len={control & 0xFF:x2} <?>",
            0x10 => $"Express {PortType(control >> 4 & 0xF)}, MSI {control >> 9 & 0x1F:x2}",
            0x11 => $"MSI-X: Enable{Sign(control & 0x8000)} Count={(control & 0x7FF) + 1} Masked{Sign(control & 0x4000)}",
            0x12 => "SATA HBA",
            _ => $"Capability ID 0x{id:x2}",
        };
    }

    private async Task<string> DescribeExtendedAsync(int id, int offset)
    {
        if (id == 0x0001) return "Advanced Error Reporting";
        if (id != 0x0003) return $"Extended Capability ID 0x{id:x4}";
        var low = await read(offset + 4).ConfigureAwait(false);
        var serial = (ulong)await read(offset + 8).ConfigureAwait(false) << 32 | low;
        return $"Device Serial Number {string.Join('-', Enumerable.Range(0, 8).Select(i => $"{(byte)(serial >> (56 - 8 * i)):x2}"))}";
    }

    private static string PortType(uint type) => type switch
    {
        0 => "Endpoint",
        1 => "Legacy Endpoint",
        4 => "Root Port (Slot-)",
        7 => "PCI-Express to PCI/PCI-X Bridge",
        9 => "Root Complex Integrated Endpoint",
        _ => $"Unknown type {type}",
    };

    private static char Sign(uint bit) => bit == 0 ? '-' : '+';
}
