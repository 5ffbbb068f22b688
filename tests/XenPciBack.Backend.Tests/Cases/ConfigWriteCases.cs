using Akka.Event;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;
using static XenPciBack.Testing.CommandBits;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>Cases 23 to 53: what a guest's writes do to config space.</summary>
public class ConfigWriteCases
{
    private const string WithWarnings = "akka.loglevel = WARNING";

    // Of the soft device; the last one has no rule.
    private const int Vpd = 0x40;
    private static readonly Register VpdAddress = new(Vpd + 2, 2), VpdData = new(Vpd + 4, 4), Unruled = new(0x60, 4);

    private static readonly Register CacheLineSizeToBist = Register.CacheLineSize with { Size = 4 };

    [Fact]
    public async Task Case_23_A_write_to_a_register_without_a_rule_is_dropped_and_warned_of_once()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithWarnings);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Pci[Nic].Force(Register.Status, 0xF910);
        var warnings = await WarningsAsync(dom0);
        await guest.Device(0).WriteAsync(Register.Status, 0xFFFF);
        await guest.Device(0).WriteAsync(Register.Status, 0xFFFF);
        Assert.Equal(0xF910u, dom0.Xen.Pci[Nic].Read(Register.Status));
        Assert.Equal(warnings + 1, await WarningsAsync(dom0));
    }

    [Fact]
    public async Task Case_24_In_permissive_mode_the_same_write_reaches_the_device()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await PermissiveGuestAsync(dom0, Nic);
        dom0.Xen.Pci[Nic].Force(Register.Status, 0xF910);
        await guest.Device(0).WriteAsync(Register.Status, 0xFFFF);
        Assert.Equal(0x0010u, dom0.Xen.Pci[Nic].Read(Register.Status));
    }

    [Fact]
    public async Task Case_25_A_write_that_touches_a_rule_is_that_rules_alone_even_in_permissive_mode()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await PermissiveGuestAsync(dom0, Nic);
        dom0.Xen.Pci[Nic].Force(Register.Status, 0xF910);
        await guest.Device(0).WriteAsync(Register.Command with { Size = 4 }, 0xFFFF_0006);
        Assert.Equal(0xF910u, dom0.Xen.Pci[Nic].Read(Register.Status));
        Assert.Equal(Memory | Master, dom0.Xen.Pci[Nic].Read(Register.Command) & (Memory | Master));
    }

    [Fact]
    public async Task Case_26_A_guest_turns_on_the_device_and_bus_mastering()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(Register.Command));
        await guest.Device(0).WriteAsync(Register.Command, Memory | Master);
        // The host turns on all the decoding a device has BARs for, the guest sees what it wrote.
        Assert.Equal(Io | Memory | Master, dom0.Xen.Pci[Nic].Read(Register.Command));
        Assert.Equal(Memory | Master, await guest.Device(0).ReadAsync(Register.Command));
    }

    [Fact]
    public async Task Case_27_A_guest_turns_off_bus_mastering_but_never_decoding()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(Register.Command, Memory | Master);
        await guest.Device(0).WriteAsync(Register.Command, 0);
        Assert.Equal(Io | Memory, dom0.Xen.Pci[Nic].Read(Register.Command));
        Assert.Equal(0u, await guest.Device(0).ReadAsync(Register.Command));
    }

    [Fact]
    public async Task Case_28_Parity_and_serr_are_a_shadow()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(Register.Command, Serr | Parity | Master | Memory);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(Register.Command) & (Serr | Parity));
        Assert.Equal(Serr | Parity | Master | Memory, await guest.Device(0).ReadAsync(Register.Command));
    }

    [Theory]
    [InlineData(false, 0u), InlineData(true, IntxDisable)]
    public async Task Case_29_Intx_disable_is_a_shadow_unless_the_guest_may_control_interrupts(
        bool allowed, uint inHardware)
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.SetPolicy(Nic, new ConfigPolicy(AllowInterruptControl: allowed));
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(new Register(0x05, 1), IntxDisable >> 8);
        Assert.Equal(inHardware, dom0.Xen.Pci[Nic].Read(Register.Command) & IntxDisable);
        Assert.Equal(IntxDisable, await guest.Device(0).ReadAsync(Register.Command) & IntxDisable);
    }

    [Fact]
    public async Task Case_30_In_permissive_mode_fast_back_to_back_reaches_the_device_and_decoding_does_not()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await PermissiveGuestAsync(dom0, Spare);
        await guest.Device(0).WriteAsync(Register.Command, Memory);
        await guest.Device(0).WriteAsync(Register.Command, FastBackToBack | Master);
        Assert.Equal(FastBackToBack | Master | Memory, dom0.Xen.Pci[Spare].Read(Register.Command));
    }

    [Fact]
    public async Task Case_31_Memory_write_and_invalidate_reads_back_clear_where_the_host_cannot_enable_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        var at = Register.CacheLineSize.Offset;
        using (dom0.Xen.Faults.Arm(FaultPoint.ConfigWrite, FaultKind.Lost, device: Spare, register: at, times: int.MaxValue))
            await guest.Device(0).WriteAsync(Register.Command, Invalidate);
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(Register.Command) & Invalidate);
        Assert.Equal(0u, await guest.Device(0).ReadAsync(Register.Command));

        await guest.Device(0).WriteAsync(Register.Command, Invalidate);
        Assert.Equal(Invalidate, dom0.Xen.Pci[Spare].Read(Register.Command) & Invalidate);
        Assert.Equal(Invalidate, await guest.Device(0).ReadAsync(Register.Command));
    }

    [Fact]
    public async Task Case_32_A_bar_is_sized_and_its_address_put_back()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await NvmeGuestAsync(dom0);
        var address = await guest.Device(0).ReadAsync(Register.Bar(0));
        Assert.Equal(0xFFFF_C00C, await ReadAfterWriteAsync(guest, Register.Bar(0), 0xFFFF_FFFF));
        Assert.Equal(address, await ReadAfterWriteAsync(guest, Register.Bar(0), address));
    }

    [Fact]
    public async Task Case_33_Type_bits_need_not_be_set_to_size_a_memory_bar_but_its_upper_half_has_none()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await NvmeGuestAsync(dom0);
        Assert.Equal(0xFFFF_C00C, await ReadAfterWriteAsync(guest, Register.Bar(0), 0xFFFF_FFF0));
        Assert.Equal(0x38u, await ReadAfterWriteAsync(guest, Register.Bar(1), 0xFFFF_FFF0));
        Assert.Equal(0xFFFF_FFFF, await ReadAfterWriteAsync(guest, Register.Bar(1), 0xFFFF_FFFF));
    }

    [Fact]
    public async Task Case_34_An_io_bar_is_sized_by_all_ones_but_its_two_type_bits()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = await guest.Device(0).ReadAsync(Register.Bar(2));
        Assert.Equal(0xFFFF_FFE1, await ReadAfterWriteAsync(guest, Register.Bar(2), 0xFFFF_FFFC));
        Assert.Equal(address, await ReadAfterWriteAsync(guest, Register.Bar(2), 0xFFFF_FFF0));
    }

    [Fact]
    public async Task Case_35_The_rom_is_sized_whatever_its_low_eleven_bits()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = await guest.Device(0).ReadAsync(Register.Rom);
        foreach (var probe in (uint[])[0xFFFF_F800, 0xFFFF_FFFE, 0xFFFF_FFFF])
        {
            Assert.Equal(0xFFFC_0000, await ReadAfterWriteAsync(guest, Register.Rom, probe));
            Assert.Equal(address, await ReadAfterWriteAsync(guest, Register.Rom, 0xFFFF_F000));
        }
    }

    [Fact]
    public async Task Case_36_A_bar_cannot_be_moved()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = dom0.Xen.Pci[Nic].Read(Register.Bar(0));
        Assert.Equal(address, await ReadAfterWriteAsync(guest, Register.Bar(0), 0xDEAD_0000));
        Assert.Equal(address, dom0.Xen.Pci[Nic].Read(Register.Bar(0)));
    }

    [Fact]
    public async Task Case_37_A_bar_that_a_reset_has_cleared_is_restored_by_its_own_address()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = dom0.Xen.Pci[Nic].Read(Register.Bar(0));
        dom0.Xen.Pci[Nic].Force(Register.Bar(0), 0);
        await guest.Device(0).WriteAsync(Register.Bar(0), address);
        Assert.Equal(address, dom0.Xen.Pci[Nic].Read(Register.Bar(0)));
    }

    [Fact]
    public async Task Case_38_Two_words_of_ones_do_not_size_a_bar()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = await guest.Device(0).ReadAsync(Register.Bar(0));
        await guest.Device(0).WriteAsync(new Register(0x10, 2), 0xFFFF);
        await guest.Device(0).WriteAsync(new Register(0x12, 2), 0xFFFF);
        Assert.Equal(address, await guest.Device(0).ReadAsync(Register.Bar(0)));
    }

    [Fact]
    public async Task Case_39_The_next_guest_reads_the_address_though_the_last_one_asked_for_the_size()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var address = await guest.Device(0).ReadAsync(Register.Bar(0));
        Assert.NotEqual(address, await ReadAfterWriteAsync(guest, Register.Bar(0), 0xFFFF_FFFF));
        await dom0.Xen.DestroyGuestAsync(guest);

        // One that scans nothing, and so asks for no size itself.
        var next = new RawPage(await dom0.ConnectedByHandAsync(Nic));
        next.Send(RawPage.ConfRead, Register.Bar(0));
        await next.WaitForAnswerAsync();
        Assert.Equal((0, address), next.Answer);
    }

    [Fact]
    public async Task Case_40_A_wide_write_at_the_cache_line_size_follows_the_rule_of_each_byte()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).WriteAsync(CacheLineSizeToBist, 0x0F80_FF08);
        Assert.Equal(0x8000_4008, dom0.Xen.Pci[Spare].Read(CacheLineSizeToBist));
        await guest.Device(0).WriteAsync(CacheLineSizeToBist, 0xC080_FF10);
        Assert.Equal(0xC000_4010, dom0.Xen.Pci[Spare].Read(CacheLineSizeToBist));
    }

    [Fact]
    public async Task Case_41_A_self_test_can_be_started_and_nothing_else_written_there()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).WriteAsync(Register.Bist, 0x0F);
        Assert.Equal(0x80u, dom0.Xen.Pci[Spare].Read(Register.Bist));
        await guest.Device(0).WriteAsync(Register.Bist, 0x40);
        Assert.Equal(0xC0u, dom0.Xen.Pci[Spare].Read(Register.Bist));
    }

    [Theory]
    [InlineData(0x3C, 2), InlineData(0x00, 4), InlineData(Vpd, 2)]
    public async Task Case_42_Registers_with_a_rule_against_writing_ignore_it_without_a_warning(int offset, int size)
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithWarnings);
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        var register = new Register(offset, size);
        var before = dom0.Xen.Pci[Spare].Read(register);
        var warnings = await WarningsAsync(dom0);
        await guest.Device(0).WriteAsync(register, 0x5555_5555);
        Assert.Equal(before, dom0.Xen.Pci[Spare].Read(register));
        Assert.Equal(warnings, await WarningsAsync(dom0));
    }

    [Fact]
    public async Task Case_43_Vital_product_data_can_be_read_and_not_written()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(VpdAddress, 0x8000)).Error);
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(VpdAddress));
        await guest.Device(0).WriteAsync(VpdAddress, 0x0010);
        Assert.Equal(0x0010u, dom0.Xen.Pci[Spare].Read(VpdAddress));
        await guest.Device(0).WriteAsync(VpdData, 0x1234_5678);
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(VpdData));
    }

    [Fact]
    public async Task Case_44_The_power_state_is_the_guests_and_pme_is_not()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(NicRegister.PowerControl, 0x0103);
        Assert.Equal(0x0003u, dom0.Xen.Pci[Nic].Read(NicRegister.PowerControl) & 0x0103);
        await guest.Device(0).WriteAsync(NicRegister.PowerControl, 0x0000);
        // There is no D1 on this device.
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(NicRegister.PowerControl, 0x0001)).Error);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(NicRegister.PowerControl) & 0x0103);
    }

    [Fact]
    public async Task Case_45_Msi_is_enabled_in_its_register_only_by_a_guest_that_may_control_interrupts()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var off = await guest.Device(0).ReadAsync(NicRegister.MsiControl);
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(NicRegister.MsiControl, off | 1)).Error);
        await guest.Device(0).WriteAsync(NicRegister.MsiControl, off);
        Assert.Equal(off, dom0.Xen.Pci[Nic].Read(NicRegister.MsiControl));
        await dom0.Xen.DestroyGuestAsync(guest);

        guest = await InterruptControllingGuestAsync(dom0);
        await guest.Device(0).WriteAsync(NicRegister.MsiControl, off | 1);
        Assert.Equal(off | 1, dom0.Xen.Pci[Nic].Read(NicRegister.MsiControl));
    }

    [Fact]
    public async Task Case_46_The_number_of_messages_cannot_be_changed()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await InterruptControllingGuestAsync(dom0);
        var before = await guest.Device(0).ReadAsync(NicRegister.MsiControl);
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(NicRegister.MsiControl, before | 0x0010)).Error);
        Assert.Equal(before, dom0.Xen.Pci[Nic].Read(NicRegister.MsiControl));
    }

    [Fact]
    public async Task Case_47_Msix_can_be_enabled_over_intx_and_not_over_msi()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await InterruptControllingGuestAsync(dom0);
        var msi = await guest.Device(0).ReadAsync(NicRegister.MsiControl);
        var msix = await guest.Device(0).ReadAsync(NicRegister.MsixControl);
        await guest.Device(0).WriteAsync(NicRegister.MsiControl, msi | 1);
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(NicRegister.MsixControl, msix | 0x8000)).Error);
        Assert.Equal(msix, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl));

        await guest.Device(0).WriteAsync(NicRegister.MsiControl, msi);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(Register.Command) & IntxDisable);
        await guest.Device(0).WriteAsync(NicRegister.MsixControl, msix | 0x8000);
        Assert.Equal(msix | 0x8000, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl));
    }

    [Fact]
    public async Task Case_48_All_msix_vectors_can_be_masked_and_unmasked()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await InterruptControllingGuestAsync(dom0);
        var unmasked = await guest.Device(0).ReadAsync(NicRegister.MsixControl);
        await guest.Device(0).WriteAsync(NicRegister.MsixControl, unmasked | 0x4000);
        Assert.Equal(unmasked | 0x4000, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl));
        await guest.Device(0).WriteAsync(NicRegister.MsixControl, unmasked);
        Assert.Equal(unmasked, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl));
    }

    [Fact]
    public async Task Case_49_The_msi_address_cannot_be_written()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(NicRegister.MsiAddress, 0xFEE0_1000);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(NicRegister.MsiAddress));
    }

    [Fact]
    public async Task Case_50_A_quirk_opens_its_own_bytes_and_no_others()
    {
        await using var dom0 = await TestDom0.StartAsync(WithQuirks(new ConfigQuirk(Spare, Unruled.Offset, 1, 0xFF)));
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        dom0.Xen.Pci[Spare].Force(Unruled, 0xEEEE_EEEE);
        await guest.Device(0).WriteAsync(Unruled with { Size = 1 }, 0xAB);
        Assert.Equal(0xEEEE_EEAB, dom0.Xen.Pci[Spare].Read(Unruled));
        await guest.Device(0).WriteAsync(Unruled, 0x1122_3344);
        Assert.Equal(0xEEEE_EE44, dom0.Xen.Pci[Spare].Read(Unruled));
    }

    [Fact]
    public async Task Case_51_A_quirk_does_not_replace_a_rule()
    {
        Assert.Null(ConfigQuirk.TryParse($"{Spare}-4:2:FFFF", out var quirk));
        var settings = WithQuirks(quirk!, new ConfigQuirk(Spare, Unruled.Offset, 1, 0xFF));
        await using var dom0 = await TestDom0.StartAsync(settings);
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).WriteAsync(Register.Command, Parity | Serr);
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(Register.Command));
        await dom0.Xen.DestroyGuestAsync(guest);

        // Deviation: quirks come from a file and are there for the next guest too.
        guest = await dom0.ConnectedGuestAsync("next", Spare);
        await guest.Device(0).WriteAsync(Unruled with { Size = 1 }, 0xAB);
        Assert.Equal(0xABu, dom0.Xen.Pci[Spare].Read(Unruled with { Size = 1 }));
    }

    [Fact]
    public async Task Case_52_A_bridge_has_two_bars_and_its_rom_elsewhere()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(RedHatPciBridge.At(Spare).Rom(64 << 10));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        Assert.Equal(0xFFFF_0000, await ReadAfterWriteAsync(guest, Register.BridgeRom, 0xFFFF_F800));
        Assert.Equal(0u, await ReadAfterWriteAsync(guest, Register.Rom, 0xFFFF_F800));
        Assert.Equal(0xFFFF_F004, await ReadAfterWriteAsync(guest, Register.Bar(0), 0xFFFF_FFFF));
        Assert.Equal(0xFFFF_FFFF, await ReadAfterWriteAsync(guest, Register.Bar(1), 0xFFFF_FFFF));
        Assert.Equal(0u, await ReadAfterWriteAsync(guest, Register.Bar(2), 0xFFFF_FFFF));
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(Register.Bar(2)));
    }

    [Fact]
    public async Task Case_53_The_guest_gets_the_hosts_errno_for_a_device_that_cannot_be_enabled()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Faults.Arm(FaultPoint.ConfigWrite, device: Nic, register: Register.Command.Offset, errno: Errnos.EINVAL);
        Assert.Equal(-22, (await guest.Device(0).TryWriteAsync(Register.Command, Memory)).Error);
    }

    /// <summary>A device that keeps what is written to its registers, so that every write let through shows.</summary>
    private static PciFunctionDescription SoftDevice() =>
        new PciFunctionDescription(Spare, vendor: 0x1234, device: 0x0001, classCode: 0xFF0000)
            .Register(0x00, 4, 0x0001_1234, writable: 0xFFFF_FFFF)
            .Register(Register.Command.Offset, 2, 0, writable: 0xFFFF)
            .Register(CacheLineSizeToBist.Offset, 4, 0x8000_4000, writable: 0x7F80_FFFF)
            .MemoryBar(0, 4096)
            .Interrupt(pin: 1, irq: 17)
            .Register(Register.InterruptLine.Offset, 2, 0x0111, writable: 0xFFFF)
            .VitalProductData(Vpd)
            .Register(Vpd, 2, 0x0003, writable: 0xFFFF)
            .Register(Unruled.Offset, 4, 0, writable: 0xFFFF_FFFF);

    private static BackendSettings WithQuirks(params ConfigQuirk[] quirks) =>
        TestDom0.Settings with { Devices = new DevicePolicies { Quirks = [.. quirks] } };

    private static Task<SimulatedGuest> NvmeGuestAsync(TestDom0 dom0)
    {
        dom0.Xen.Pci.Plug(Nvme.At(Spare));
        return dom0.ConnectedGuestAsync("web", Spare);
    }

    private static Task<SimulatedGuest> PermissiveGuestAsync(TestDom0 dom0, HostBdf device) =>
        dom0.ConnectedGuestAsync("permissive", [device], frontend: null, PciDeviceOptions.Permissive);

    private static Task<SimulatedGuest> InterruptControllingGuestAsync(TestDom0 dom0)
    {
        dom0.Xen.Pci.SetPolicy(Nic, new ConfigPolicy(AllowInterruptControl: true));
        return dom0.ConnectedGuestAsync("stubdom", Nic);
    }

    private static async Task<uint> ReadAfterWriteAsync(SimulatedGuest guest, Register register, uint value)
    {
        await guest.Device(0).WriteAsync(register, value);
        return await guest.Device(0).ReadAsync(register);
    }

    // A warning is published before the request that it is about is answered.
    private static async Task<int> WarningsAsync(TestDom0 dom0) => (await dom0.Events.AllOfAsync<Warning>()).Count;
}
