using System.Collections.Immutable;

namespace XenPciBack.Simulation.Guests;

/// <summary>
/// Enumerates one root bus through the frontend with the accesses Linux makes: every one of the 256 functions is asked for its
/// ids, and whoever answers is read out and sized.
/// </summary>
internal sealed class PciScan(SimulatedFrontend frontend, uint domain, uint bus)
{
    private const uint AllOnes = 0xFFFFFFFF;
    private const uint Decoding = 0x3;

    public async Task<ImmutableArray<GuestPciDevice>> RunAsync()
    {
        var found = ImmutableArray.CreateBuilder<GuestPciDevice>();
        for (uint devFn = 0; devFn < 256; devFn++)
        {
            var ids = await ReadAsync(devFn, 0x00, 4).ConfigureAwait(false);
            // Nothing there, or a bus that answers for a device that does not (Linux pci_bus_generic_read_dev_vendor_id).
            if (ids is AllOnes or 0 or 0x0000FFFF or 0xFFFF0000) continue;
            found.Add(await ReadOutAsync(devFn, ids).ConfigureAwait(false));
        }
        return found.ToImmutable();
    }

    private async Task<GuestPciDevice> ReadOutAsync(uint devFn, uint ids)
    {
        var headerType = (byte)(await ReadAsync(devFn, 0x0E, 1).ConfigureAwait(false) & 0x7F);
        var classAndRevision = await ReadAsync(devFn, 0x08, 4).ConfigureAwait(false);
        return new GuestPciDevice
        {
            Address = GuestPciDevice.Format(domain, bus, devFn),
            VendorId = (ushort)ids,
            DeviceId = (ushort)(ids >> 16),
            ClassCode = classAndRevision >> 8,
            Revision = (byte)classAndRevision,
            HeaderType = headerType,
            InterruptPin = (byte)await ReadAsync(devFn, 0x3D, 1).ConfigureAwait(false),
            InterruptLine = (byte)await ReadAsync(devFn, 0x3C, 1).ConfigureAwait(false),
            Bars = await SizeBarsAsync(devFn, isBridge: headerType == 1).ConfigureAwait(false),
            Capabilities = await new CapabilityWalk(offset => ReadAsync(devFn, offset, 4)).RunAsync().ConfigureAwait(false),
        };
    }

    /// <summary>Decoding is off meanwhile: a BAR full of ones must not claim addresses.</summary>
    private async Task<ImmutableArray<GuestBar>> SizeBarsAsync(uint devFn, bool isBridge)
    {
        var command = await ReadAsync(devFn, 0x04, 2).ConfigureAwait(false);
        if ((command & Decoding) != 0) await WriteAsync(devFn, 0x04, 2, command & ~Decoding).ConfigureAwait(false);

        var bars = ImmutableArray.CreateBuilder<GuestBar>();
        for (var i = 0; i < (isBridge ? 2 : 6); i++)
        {
            if (await SizeBarAsync(devFn, i).ConfigureAwait(false) is not { } bar) continue;
            bars.Add(bar);
            if (bar.Is64Bit) i++;
        }
        if (await SizeRomAsync(devFn, isBridge ? 0x38 : 0x30).ConfigureAwait(false) is { } rom) bars.Add(rom);

        if ((command & Decoding) != 0) await WriteAsync(devFn, 0x04, 2, command).ConfigureAwait(false);
        return bars.ToImmutable();
    }

    private async Task<GuestBar?> SizeBarAsync(uint devFn, int index)
    {
        var (low, lowSize) = await ProbeAsync(devFn, 0x10 + 4 * index, AllOnes).ConfigureAwait(false);
        if (lowSize is 0 or AllOnes) return null;
        if ((low & 0x1) != 0) return new GuestBar(index, low & ~0x3u, LowestBit(lowSize & ~0x3u & 0xFFFF), IsIo: true);

        var is64Bit = (low & 0x6) == 0x4;
        var (high, highSize) = is64Bit ? await ProbeAsync(devFn, 0x14 + 4 * index, AllOnes).ConfigureAwait(false) : (0u, 0u);
        var size = LowestBit((ulong)highSize << 32 | lowSize & ~0xFu);
        return size == 0 ? null : new GuestBar(index, (ulong)high << 32 | low & ~0xFu, size, Is64Bit: is64Bit, IsPrefetchable: (low & 0x8) != 0);
    }

    private async Task<GuestBar?> SizeRomAsync(uint devFn, int offset)
    {
        const uint addressBits = 0xFFFFF800;
        var (value, sizeBits) = await ProbeAsync(devFn, offset, addressBits).ConfigureAwait(false);
        var size = LowestBit(sizeBits & addressBits);
        return size == 0 || sizeBits == AllOnes ? null : new GuestBar(GuestBar.Rom, value & addressBits, size);
    }

    private async Task<(uint Value, uint SizeBits)> ProbeAsync(uint devFn, int offset, uint probe)
    {
        var value = await ReadAsync(devFn, offset, 4).ConfigureAwait(false);
        await WriteAsync(devFn, offset, 4, value | probe).ConfigureAwait(false);
        var sizeBits = await ReadAsync(devFn, offset, 4).ConfigureAwait(false);
        await WriteAsync(devFn, offset, 4, value).ConfigureAwait(false);
        return (value, sizeBits);
    }

    private static ulong LowestBit(ulong bits) => bits & (~bits + 1);

    /// <summary>All ones after an error, as Linux gives its drivers.</summary>
    private async Task<uint> ReadAsync(uint devFn, int offset, int size)
    {
        var answer = await frontend.ReadConfigAsync(domain, bus, devFn, offset, size).ConfigureAwait(false);
        return answer.Error == 0 ? answer.Value & AllOnes >> (32 - 8 * size) : AllOnes >> (32 - 8 * size);
    }

    private Task<FrontendAnswer> WriteAsync(uint devFn, int offset, int size, uint value) =>
        frontend.WriteConfigAsync(domain, bus, devFn, offset, size, value);
}
