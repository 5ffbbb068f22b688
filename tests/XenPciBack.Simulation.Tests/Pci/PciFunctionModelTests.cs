using XenPciBack.Protocol;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Simulation.Tests.Pci;

public sealed class PciFunctionModelTests
{
    private static readonly HostBdf Bdf = HostBdf.Parse("0000:03:00.0");

    private readonly SimulatedPciHost _host = new();

    [Theory]
    [InlineData(0, 0x10, 0xFFFE0000)]
    [InlineData(2, 0x18, 0xFFFFFFE1)]
    [InlineData(3, 0x1C, 0xFFFFC000)]
    public void A_bar_written_with_all_ones_shows_its_size_and_takes_its_address_back(int bar, int offset, uint size)
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        var address = nic.Read(offset, 4);
        Assert.Equal(nic.Resources[bar].Start, address & ~0xFul);
        nic.Write(offset, 4, 0xFFFFFFFF);
        Assert.Equal(size, nic.Read(offset, 4));
        nic.Write(offset, 4, address);
        Assert.Equal(address, nic.Read(offset, 4));
    }

    [Fact]
    public void A_64_bit_bar_above_4_GiB_takes_two_registers()
    {
        var nvme = _host.Plug(Nvme.At(Bdf));
        Assert.Equal(0xCu, nvme.Read(0x10, 4) & 0xF);
        Assert.Equal(nvme.Resources[0].Start, (ulong)nvme.Read(0x14, 4) << 32 | nvme.Read(0x10, 4) & ~0xFu);
        nvme.Write(0x14, 4, 0xFFFFFFFF);
        Assert.Equal(0xFFFFFFFF, nvme.Read(0x14, 4));
    }

    [Fact]
    public void Vital_product_data_is_found_and_a_register_of_ones_own_behaves_as_told()
    {
        var device = _host.Plug(new PciFunctionDescription(Bdf, 0x1234, 0x0001, 0xFF0000).VitalProductData(0x40).Register(0x60, 2, 0xF00F, writable: 0x00F0, clearedByOne: 0xF000));
        Assert.Equal((0x40u, 0x03u), (device.Read(0x34, 1), device.Read(0x40, 1)));
        device.Write(0x42, 2, 0x8010);
        device.Write(0x60, 2, 0x50FF);
        Assert.Equal((0x8010u, 0xA0FFu), (device.Read(0x42, 2), device.Read(0x60, 2)));
    }

    [Fact]
    public void The_rom_shows_its_size_and_can_be_enabled()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        nic.Write(0x30, 4, 0xFFFFF800);
        Assert.Equal(0xFFFC0000, nic.Read(0x30, 4));
        nic.Write(0x30, 4, 0x1);
        Assert.Equal(0x1u, nic.Read(0x30, 4));
    }

    [Fact]
    public void The_host_resource_table_agrees_with_the_registers_of_every_device()
    {
        foreach (var function in PlugOneOfEach())
        {
            var bars = (function.Read(0x0E, 1) & 0x7F) == 1 ? 2 : 6;
            for (var i = 0; i < bars; i++)
            {
                var resource = function.Resources[i];
                if (resource.Size == 0) continue;
                Assert.Equal((uint)(resource.Start | (resource.Flags & 0xF)), function.Read(0x10 + 4 * i, 4));
                Assert.Equal(0ul, resource.Start % resource.Size);
            }
            Assert.Equal(7, function.Resources.Length);
        }
    }

    [Fact]
    public void No_two_bars_overlap()
    {
        var memory = PlugOneOfEach().SelectMany(f => f.Resources).Where(r => r.IsMemory).OrderBy(r => r.Start).ToArray();
        Assert.All(memory.Zip(memory.Skip(1)), pair => Assert.True(pair.First.End >> 12 < pair.Second.Start >> 12));
    }

    [Fact]
    public void Identity_cannot_be_written()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        foreach (var offset in (int[])[0x00, 0x08, 0x2C, 0x34, 0x100, 0x144]) AssertUnchanged(nic, offset);
        Assert.Equal(0x10D38086u, nic.Read(0, 4));
    }

    [Fact]
    public void The_command_register_keeps_the_bits_the_device_has()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        nic.Write(0x04, 2, 0xFFFF);
        Assert.Equal(0x0547u, nic.Read(0x04, 2));
    }

    [Fact]
    public void A_status_bit_is_cleared_by_writing_1_and_only_then()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        nic.Force(0x06, 2, nic.Read(0x06, 2) | 0xA000);
        nic.Write(0x06, 2, 0x2000);
        Assert.Equal(0x8000u, nic.Read(0x06, 2) & 0xF900);
        nic.Write(0x04, 4, 0x0000_0006);
        Assert.Equal(0x8000u, nic.Read(0x06, 2) & 0xF900);
    }

    [Fact]
    public void The_device_goes_to_D3_and_back_but_not_to_states_it_does_not_have()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        nic.Write(0xCC, 2, 0x3);
        Assert.Equal(0x3u, nic.Read(0xCC, 2) & 0x3);
        nic.Write(0xCC, 2, 0x1);
        Assert.Equal(0x3u, nic.Read(0xCC, 2) & 0x3);
        nic.Write(0xCC, 1, 0x0);
        Assert.Equal(0x0u, nic.Read(0xCC, 2) & 0x3);
    }

    [Fact]
    public void The_nic_has_its_capabilities_where_the_data_sheet_says()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        Assert.Equal([(0xC8, 0x01), (0xD0, 0x05), (0xE0, 0x10), (0xA0, 0x11)], Capabilities(nic));
        Assert.Equal(0x14020001u, nic.Read(0x100, 4));
        Assert.Equal(0x00010003u, nic.Read(0x140, 4));
        Assert.Equal(4u, nic.Read(0xA2, 2));
        Assert.Equal((0x3u, 0x2003u), (nic.Read(0xA4, 4), nic.Read(0xA8, 4)));
    }

    [Fact]
    public void Msix_control_takes_enable_and_mask_and_nothing_else()
    {
        var nic = _host.Plug(Intel82574.At(Bdf));
        nic.Write(0xA2, 2, 0xFFFF);
        Assert.Equal(0xC004u, nic.Read(0xA2, 2));
        AssertUnchanged(nic, 0xA4);
    }

    [Fact]
    public void A_device_without_capabilities_says_so()
    {
        var smbus = _host.Plug(Ich9.Smbus(Bdf));
        Assert.Equal((0u, 0u), (smbus.Read(0x06, 2) & 0x10, smbus.Read(0x34, 1)));
        Assert.Equal((256, 0xFFFFFFFFu), (smbus.ConfigSize, smbus.Read(0x100, 4)));
    }

    [Fact]
    public void A_bridge_has_a_header_of_type_1_with_bus_numbers_and_windows()
    {
        var bridge = _host.Plug(RedHatPciBridge.At(Bdf));
        Assert.Equal(1u, bridge.Read(0x0E, 1));
        bridge.Write(0x18, 4, 0x00020100);
        Assert.Equal(0x00020100u, bridge.Read(0x18, 4));
        bridge.Write(0x20, 4, 0xFFFFFFFF);
        Assert.Equal(0xFFF0FFF0, bridge.Read(0x20, 4));
    }

    [Fact]
    public void A_virtual_function_reads_all_ones_where_its_ids_would_be()
    {
        var vf = _host.Plug(Nvme.At(Bdf).VirtualFunction());
        Assert.Equal((0xFFFFFFFFu, 0x1B36, true), (vf.Read(0, 4), vf.VendorId, vf.IsVirtualFunction));
    }

    private PciFunctionModel[] PlugOneOfEach() =>
    [
        _host.Plug(Intel82574.At(HostBdf.Parse("0000:03:00.0"))),
        _host.Plug(Ich9.Sata(HostBdf.Parse("0000:00:1f.2"))),
        _host.Plug(Ich9.Smbus(HostBdf.Parse("0000:00:1f.3"))),
        _host.Plug(RedHatPciBridge.At(HostBdf.Parse("0000:00:1e.0"))),
        _host.Plug(QemuEdu.At(HostBdf.Parse("0000:00:05.0"))),
        _host.Plug(Nvme.At(HostBdf.Parse("0000:04:00.0"))),
    ];

    private static void AssertUnchanged(PciFunctionModel function, int offset)
    {
        var before = function.Read(offset, 4);
        function.Write(offset, 4, ~before);
        Assert.Equal(before, function.Read(offset, 4));
    }

    private static List<(int Offset, int Id)> Capabilities(PciFunctionModel function)
    {
        var found = new List<(int, int)>();
        for (var at = (int)function.Read(0x34, 1); at != 0; at = (int)function.Read(at + 1, 1)) found.Add((at, (int)function.Read(at, 1)));
        return found;
    }
}
