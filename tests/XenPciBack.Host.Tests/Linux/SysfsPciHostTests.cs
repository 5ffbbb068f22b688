using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Host.Tests.Linux;

public sealed class SysfsPciHostTests : IDisposable
{
    private const string Nic = "0000:03:00.0";

    private readonly ScratchRoot _root = new();

    public void Dispose() => _root.Dispose();

    [Fact]
    public void An_assignable_function_shows_what_sysfs_says()
    {
        using var nic = Open(ConfigOf(4096));
        Assert.Equal(Nic, nic.Bdf.ToString());
        Assert.Equal((0x8086, 0x10D3), (nic.VendorId, nic.DeviceId));
        Assert.Equal(4096, nic.ConfigSize);
        Assert.Equal(19, nic.Irq);
        Assert.False(nic.IsVirtualFunction);
        Assert.Equal(7, nic.Resources.Length);
        Assert.Equal(new PciResource(0xFEBC0000, 0xFEBDFFFF, 0x40200), nic.Resources[0]);
        Assert.False(nic.Resources[6].IsUsable);
    }

    [Fact]
    public void The_irq_is_read_anew_each_time()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Equal(19, nic.Irq);
        File.WriteAllText($"{_root.DeviceDirectory(Nic)}/irq", "131\n");
        Assert.Equal(131, nic.Irq);
    }

    [Fact]
    public void A_function_with_a_physfn_link_is_a_virtual_function_and_decodes_memory_as_its_physical_one()
    {
        var physical = ConfigOf(256);
        physical[0x04] = 0x02;
        _root.WithDevice("0000:03:00.1", driver: null, physical).WithLink($"/sys/bus/pci/devices/{Nic}/physfn", "../0000:03:00.1");
        var own = ConfigOf(256);
        own[0x04] = 0;
        using var nic = Open(own);
        Assert.True(nic.IsVirtualFunction);
        Assert.True(nic.DecodesMemory);
        File.WriteAllBytes($"{_root.DeviceDirectory("0000:03:00.1")}/config", own);
        Assert.False(nic.DecodesMemory);
    }

    [Fact]
    public void A_function_that_is_gone_has_no_bridges_above_it() => Assert.Empty(new SysfsPciHost(_root.Path).BridgesAbove(HostBdf.Parse(Nic)));

    [Fact]
    public void The_bridges_above_a_function_are_known_from_where_its_directory_really_is()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Empty(nic.Bridges);

        const string below = "0000:04:00.0";
        var directory = _root.WithDevice(below, "pciback", ConfigOf(256)).DeviceDirectory(below);
        var real = directory.Replace("/sys/bus/pci/devices/", "/sys/devices/pci0000:00/0000:00:1c.0/0000:03:02.0/", StringComparison.Ordinal);
        Directory.CreateDirectory(Path.GetDirectoryName(real)!);
        Directory.Move(directory, real);
        Directory.CreateSymbolicLink(directory, real);
        using var function = new SysfsPciHost(_root.Path).Open(HostBdf.Parse(below));
        Assert.Equal<HostBdf>([HostBdf.Parse("0000:00:1c.0"), HostBdf.Parse("0000:03:02.0")], function.Bridges);
    }

    [Fact]
    public void Host_drivers_on_the_functions_line_are_known_and_the_kernels_own_backend_is_none()
    {
        _root.With("/sys/kernel/irq/19/actions", $"ahci[0000:00:1f.2],xen-pciback[{Nic}],eth0\n");
        using (var nic = Open(ConfigOf(256))) Assert.Equal<string>(["ahci[0000:00:1f.2]", "eth0"], nic.LineSharers);
        _root.With("/sys/kernel/irq/19/actions", "\n");
        using (var nic = new SysfsPciHost(_root.Path).Open(HostBdf.Parse(Nic))) Assert.Empty(nic.LineSharers);
    }

    [Fact]
    public void The_stub_drivers_switches_say_what_the_administrator_has_allowed()
    {
        var (host, nic, other) = (new SysfsPciHost(_root.Path), HostBdf.Parse(Nic), HostBdf.Parse("0000:04:00.0"));
        Assert.Equal(new ConfigPolicy(), host.PolicyOf(nic));

        _root.With("/sys/bus/pci/drivers/pciback/permissive", $"{Nic}\n").With("/sys/bus/pci/drivers/pciback/allow_interrupt_control", $"{other}\n0000:05:00.0\n");
        Assert.Equal(new ConfigPolicy(Permissive: true), host.PolicyOf(nic));
        Assert.Equal(new ConfigPolicy(AllowInterruptControl: true), host.PolicyOf(other));

        _root.With("/sys/module/xen_pciback/parameters/permissive", "Y\n");
        Assert.Equal(new ConfigPolicy(Permissive: true, AllowInterruptControl: true), host.PolicyOf(other));
    }

    [Theory]
    [InlineData("64\n", 16)]
    [InlineData("128\n", 32)]
    [InlineData("rubbish\n", 16)]
    [InlineData(null, 16)]
    public void The_cache_line_size_counts_units_of_four_bytes(string? coherencyLineSize, byte expected)
    {
        if (coherencyLineSize is not null) _root.With("/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size", coherencyLineSize);
        using var nic = Open(ConfigOf(256));
        Assert.Equal(expected, nic.CacheLineSize);
    }

    [Fact]
    public void Registers_are_read_little_endian_at_their_own_width()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Equal((PciOpError.Success, 0x43424140u), Read(nic, 0x40, 4));
        Assert.Equal((PciOpError.Success, 0x4342u), Read(nic, 0x42, 2));
        Assert.Equal((PciOpError.Success, 0x43u), Read(nic, 0x43, 1));
    }

    [Fact]
    public void All_registers_can_be_read_in_one_go()
    {
        var config = ConfigOf(4096);
        using var nic = Open(config);
        Assert.Equal(config, nic.ReadAll());
    }

    [Fact]
    public void A_write_changes_exactly_its_own_bytes()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Equal(PciOpError.Success, nic.Write(0x42, 2, 0xAAAABBCC));
        Assert.Equal((PciOpError.Success, 0xBBCC4140u), Read(nic, 0x40, 4));
        Assert.Equal((PciOpError.Success, 0x47464544u), Read(nic, 0x44, 4));
    }

    [Fact]
    public void Above_the_config_size_reads_give_all_ones_and_writes_are_dropped()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Equal(256, nic.ConfigSize);
        Assert.Equal((PciOpError.Success, 0xFFFFFFFFu), Read(nic, 0x100, 4));
        Assert.Equal((PciOpError.Success, 0xFFu), Read(nic, 0xFFF, 1));
        Assert.Equal(PciOpError.Success, nic.Write(0x100, 4, 0));
        Assert.Equal(256, new FileInfo($"{_root.DeviceDirectory(Nic)}/config").Length);
    }

    [Fact]
    public void Register_accesses_allocate_nothing()
    {
        using var nic = Open(ConfigOf(256));
        void AccessAll()
        {
            for (var offset = 0; offset < 256; offset += 4)
            {
                nic.Read(offset, 4, out var value);
                nic.Write(offset, 4, value);
            }
        }
        AccessAll();
        var before = GC.GetAllocatedBytesForCurrentThread();
        AccessAll();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Reset_writes_1_where_the_kernel_offers_it()
    {
        using var nic = Open(ConfigOf(256));
        Assert.Equal("the kernel knows no way to reset this device alone", nic.TryReset());

        _root.With($"/sys/bus/pci/devices/{Nic}/reset", "");
        Assert.Null(nic.TryReset());
        Assert.Equal("1", File.ReadAllText($"{_root.DeviceDirectory(Nic)}/reset"));
    }

    [Fact]
    public void A_device_that_does_not_exist_is_refused() =>
        AssertRefused("no such device");

    [Fact]
    public void A_device_with_another_driver_is_refused_naming_it_and_the_way_out()
    {
        _root.WithDevice(Nic, "e1000e", ConfigOf(256));
        AssertRefused("driver e1000e has it, pciback should; run: xl pci-assignable-add 0000:03:00.0");
    }

    [Fact]
    public void A_device_without_driver_is_refused()
    {
        _root.WithDevice(Nic, driver: null, ConfigOf(256));
        AssertRefused("it has no driver");
    }

    [Fact]
    public void A_cardbus_bridge_is_refused()
    {
        var config = ConfigOf(256);
        config[0x0E] = 0x82;
        _root.WithDevice(Nic, "pciback", config);
        AssertRefused("header type 0x82");
    }

    [Fact]
    public void Config_space_that_ends_after_64_bytes_is_refused()
    {
        _root.WithDevice(Nic, "pciback", ConfigOf(64));
        AssertRefused("run as root");
    }

    [Fact]
    public void A_resource_table_nobody_understands_is_refused()
    {
        _root.WithDevice(Nic, "pciback", ConfigOf(256)).With($"/sys/bus/pci/devices/{Nic}/resource", "0x0 what 0x0\n");
        AssertRefused("'what' is not a hexadecimal number");
    }

    [Fact]
    public void A_function_is_given_to_one_guest_at_a_time()
    {
        var host = new SysfsPciHost(_root.WithDevice(Nic, "pciback", ConfigOf(256)).Path);
        using (host.Open(HostBdf.Parse(Nic)))
        {
            var e = Assert.Throws<PciFunctionUnavailableException>(() => host.Open(HostBdf.Parse(Nic)));
            Assert.Contains("already given to a guest", e.Message, StringComparison.Ordinal);
        }
        host.Open(HostBdf.Parse(Nic)).Dispose();
    }

    [Fact]
    public void The_kernel_backend_serves_a_guest_when_it_is_bound_to_its_directory()
    {
        _root.With("/sys/bus/xen-backend/drivers/xen-pciback/pci-7-0/uevent", "");
        var host = new SysfsPciHost(_root.Path);
        Assert.True(host.KernelBackendServes(new DomainId(7), 0));
        Assert.False(host.KernelBackendServes(new DomainId(7), 1));
        Assert.False(host.KernelBackendServes(new DomainId(8), 0));
    }

    [RealPciFact]
    public void A_function_of_this_machine_reads_the_same_as_its_config_file()
    {
        var name = RealPciFactAttribute.AnyDevice!;
        using IPciFunction function = SysfsPciFunction.Open(HostBdf.Parse(name), $"/sys/bus/pci/devices/{name}", "/sys/kernel/irq", cacheLineSize: 16, onClose: () => { });
        Assert.Equal((PciOpError.Success, (uint)(function.DeviceId << 16 | function.VendorId)), Read(function, 0, 4));

        var file = File.ReadAllBytes($"/sys/bus/pci/devices/{name}/config");
        Assert.Equal(file.Length, function.ConfigSize);
        Assert.Equal(file[..0x40], function.ReadAll()[..0x40]);
        Assert.Equal(file[..0x40], Enumerable.Range(0, 0x40).Select(offset => (byte)Read(function, offset, 1).Value));
    }

    [RealPciFact]
    public void A_function_of_this_machine_is_refused_while_its_own_driver_has_it()
    {
        var e = Assert.Throws<PciFunctionUnavailableException>(() => new SysfsPciHost().Open(HostBdf.Parse(RealPciFactAttribute.AnyDevice!)));
        Assert.Contains("not set aside for guests", e.Message, StringComparison.Ordinal);
    }

    private IPciFunction Open(byte[] config) => new SysfsPciHost(_root.WithDevice(Nic, "pciback", config).Path).Open(HostBdf.Parse(Nic));

    private void AssertRefused(string reason)
    {
        var e = Assert.Throws<PciFunctionUnavailableException>(() => new SysfsPciHost(_root.Path).Open(HostBdf.Parse(Nic)));
        Assert.StartsWith($"{Nic}: ", e.Message, StringComparison.Ordinal);
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
    }

    /// <summary>Every byte its own offset, except for a type-0 header.</summary>
    private static byte[] ConfigOf(int size)
    {
        var config = Enumerable.Range(0, size).Select(offset => (byte)offset).ToArray();
        config[0x0E] = 0x00;
        return config;
    }

    private static (PciOpError Error, uint Value) Read(IPciFunction function, int offset, int size) => (function.Read(offset, size, out var value), value);
}
