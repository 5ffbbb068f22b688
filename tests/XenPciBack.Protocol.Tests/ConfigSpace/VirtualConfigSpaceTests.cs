using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Tests.ConfigSpace;

/// <summary>What a guest reads and what its writes reach; numbers as in the behaviour reference, section 4.</summary>
public class VirtualConfigSpaceTests
{
    private readonly RegisterFile _hardware = new();

    private static readonly PciResource
        Memory64 = new(0x38_3FFE_0000, 0x38_3FFE_3FFF, 0x0014_220C),
        Io = new(0xC000, 0xC01F, 0x0000_0101),
        Rom = new(0xF7D0_0000, 0xF7D0_FFFF, 0x0000_0200);

    private VirtualConfigSpace Open(bool permissive = false, bool interruptControl = false) => new(_hardware, new ConfigPolicy(permissive, interruptControl), new DeviceRecord());

    private static uint Read(VirtualConfigSpace config, int offset, int size)
    {
        Assert.Equal(PciOpError.Success, config.Read(offset, size, out var value));
        return value;
    }

    [Theory]
    [InlineData(0, 3), InlineData(0, 0), InlineData(0, 8), InlineData(1, 2), InlineData(2, 4)]
    [InlineData(-4, 4), InlineData(4096, 4), InlineData(4094, 4), InlineData(int.MinValue, 1), InlineData(int.MaxValue, 1)]
    public void An_access_of_odd_size_or_outside_config_space_is_refused_without_touching_the_device(int offset, int size)
    {
        var config = Open();
        Assert.Equal(PciOpError.InvalidOffset, config.Read(offset, size, out var value));
        Assert.Equal(0u, value);
        Assert.Equal(PciOpError.InvalidOffset, config.Write(offset, size, 1).Error);
        Assert.Empty(_hardware.Writes);
    }

    [Fact]
    public void Ids_are_the_hosts_even_where_the_register_reads_all_ones()
    {
        _hardware.Poke(0x00, 4, 0xFFFF_FFFF);
        Assert.Equal(0x10D3_8086u, Read(Open(), 0x00, 4));
        Assert.Equal(0x10D3u, Read(Open(), 0x02, 2));
        Assert.Equal(0x80u, Read(Open(), 0x01, 1));
    }

    [Fact]
    public void The_interrupt_line_is_the_hosts_current_irq()
    {
        _hardware.Poke(0x3C, 4, 0x1122_0133);
        var config = Open();
        Assert.Equal(0x1122_011Au, Read(config, 0x3C, 4));
        _hardware.Irq = 0x134;
        Assert.Equal(0x34u, Read(config, 0x3C, 1));
    }

    [Fact]
    public void A_64_bit_bar_shows_its_captured_address_and_sizes_in_both_halves()
    {
        var function = new RegisterFile { Resources = [Memory64, default, Io, default, default, default, Rom] };
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        function.Poke(0x10, 4, 0);
        Assert.Equal([0x3FFE_000Cu, 0x38u, 0x0000_C001u, 0u], new[] { 0x10, 0x14, 0x18, 0x1C }.Select(o => Read(config, o, 4)));
        foreach (var offset in new[] { 0x10, 0x14, 0x18, 0x1C, 0x30 }) config.Write(offset, 4, 0xFFFF_FFFF);
        Assert.Equal([0xFFFF_C00Cu, 0xFFFF_FFFFu, 0xFFFF_FFE1u, 0u, 0xFFFF_0000u], new[] { 0x10, 0x14, 0x18, 0x1C, 0x30 }.Select(o => Read(config, o, 4)));
        Assert.Empty(function.Writes);
    }

    [Theory]
    [InlineData(0x10, 0xFFFF_FFF0u, true), InlineData(0x10, 0xFFFF_FFEFu, false)]
    [InlineData(0x14, 0xFFFF_FFFFu, true), InlineData(0x14, 0xFFFF_FFF0u, false)]
    [InlineData(0x18, 0xFFFF_FFFCu, true), InlineData(0x18, 0xFFFF_FFF0u, false)]
    [InlineData(0x30, 0xFFFF_F800u, true), InlineData(0x30, 0xFFFF_F000u, false), InlineData(0x30, 0xFFFF_FFFEu, true)]
    public void Only_all_ones_in_the_bits_a_register_decodes_ask_for_the_size(int register, uint written, bool sizes)
    {
        var function = new RegisterFile { Resources = [Memory64, default, Io, default, default, default, Rom] };
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        var address = Read(config, register, 4);
        config.Write(register, 4, written);
        Assert.Equal(sizes, Read(config, register, 4) != address);
        config.Write(register, 4, address);
        Assert.Equal(address, Read(config, register, 4));
    }

    [Fact]
    public void Two_half_writes_of_ones_do_not_size_a_bar_and_a_foreign_address_goes_nowhere()
    {
        var function = new RegisterFile { Resources = [Memory64, default, default, default, default, default, default] };
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        function.Poke(0x10, 4, 0x3FFE_000C);
        config.Write(0x10, 2, 0xFFFF);
        config.Write(0x12, 2, 0xFFFF);
        Assert.Equal(0x3FFE_000Cu, Read(config, 0x10, 4));
        config.Write(0x10, 4, 0xDEAD_0000);
        Assert.Equal(0x3FFE_000Cu, Read(config, 0x10, 4));
        Assert.Empty(function.Writes);
    }

    [Fact]
    public void Writing_the_captured_address_restores_a_bar_that_a_reset_has_cleared()
    {
        var function = new RegisterFile { Resources = [Memory64, default, default, default, default, default, default] };
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        config.Write(0x10, 4, 0x3FFE_000C);
        Assert.Equal([(0x10, 4, 0x3FFE_000Cu)], function.Writes);
    }

    [Fact]
    public void A_guest_turns_decoding_on_for_all_resources_and_never_off()
    {
        var function = new RegisterFile { Resources = [Memory64, default, Io, default, default, default, default] };
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        config.Write(0x04, 2, 0x0002);
        Assert.Equal(0x0003u, function.Peek(0x04, 2));
        Assert.Equal(0x0002u, Read(config, 0x04, 2));
        config.Write(0x04, 2, 0x0006);
        Assert.Equal(0x0007u, function.Peek(0x04, 2));
        config.Write(0x04, 2, 0x0000);
        Assert.Equal(0x0003u, function.Peek(0x04, 2));
        Assert.Equal(0x0000u, Read(config, 0x04, 2));
    }

    [Fact]
    public void Parity_serr_and_intx_disable_are_a_shadow()
    {
        var config = Open();
        config.Write(0x04, 2, 0x0540);
        Assert.Equal(0u, _hardware.Peek(0x04, 2));
        Assert.Equal(0x0540u, Read(config, 0x04, 2));
    }

    [Fact]
    public void With_interrupt_control_intx_disable_reaches_the_hardware()
    {
        var config = Open(interruptControl: true);
        config.Write(0x05, 1, 0x04);
        Assert.Equal(0x0400u, _hardware.Peek(0x04, 2));
        config.Write(0x05, 1, 0x00);
        Assert.Equal(0u, _hardware.Peek(0x04, 2));
    }

    [Fact]
    public void Enabling_a_device_with_an_unassigned_resource_gives_the_hosts_errno()
    {
        var unset = new PciResource(0, 0x3FFF, 0x2000_0200);
        var config = new VirtualConfigSpace(new RegisterFile { Resources = [unset, default, default, default, default, default, default] }, new ConfigPolicy(), new DeviceRecord());
        Assert.Equal(-22, (int)config.Write(0x04, 2, 0x0002).Error);
    }

    [Fact]
    public void Write_invalidate_needs_the_hosts_cache_line_and_reads_back_clear_without_it()
    {
        var config = Open();
        config.Write(0x04, 2, 0x0010);
        Assert.Equal((16u, 0x0010u), (_hardware.Peek(0x0C, 1), _hardware.Peek(0x04, 2)));

        var stubborn = new RegisterFile { CacheLineSize = 0 };
        config = new VirtualConfigSpace(stubborn, new ConfigPolicy(), new DeviceRecord());
        Assert.Equal(PciOpError.Success, config.Write(0x04, 2, 0x0010).Error);
        Assert.Equal(0u, Read(config, 0x04, 2));
    }

    [Fact]
    public void A_conventional_bus_master_gets_a_latency_and_a_pci_express_one_does_not()
    {
        Open().Write(0x04, 2, 0x0004);
        Assert.Equal(64u, _hardware.Peek(0x0D, 1));

        var express = new RegisterFile().WithCapabilities((0x40, 0x10));
        new VirtualConfigSpace(express, new ConfigPolicy(), new DeviceRecord()).Write(0x04, 2, 0x0004);
        Assert.Equal(0u, express.Peek(0x0D, 1));
    }

    [Fact]
    public void A_register_without_a_rule_is_read_only_by_default_and_open_when_permissive()
    {
        var result = Open().Write(0x06, 2, 0xFFFF);
        Assert.Equal(new ConfigWriteResult(PciOpError.Success, Dropped: true) { Fate = ConfigWriteFate.Dropped }, result);
        Assert.Empty(_hardware.Writes);

        Assert.Equal(new ConfigWriteResult(PciOpError.Success, Dropped: false) { Fate = ConfigWriteFate.Allowed }, Open(permissive: true).Write(0x06, 2, 0xFFFF));
        Assert.Equal([(0x06, 2, 0xFFFFu)], _hardware.Writes);
    }

    [Theory]
    [InlineData(0x0C, 1, 0x20u, ConfigWriteFate.Allowed), InlineData(0x3D, 1, 0x03u, ConfigWriteFate.Dropped), InlineData(0x04, 2, 0x0007u, ConfigWriteFate.Filtered)]
    // Cache Line Size, which is the device's own, and the read-only Latency Timer beside it.
    [InlineData(0x0C, 4, 0x0000_5520u, ConfigWriteFate.Filtered), InlineData(0x0C, 4, 0x0000_0020u, ConfigWriteFate.Allowed)]
    public void What_the_rules_let_through_of_a_write_has_a_name(int offset, int size, uint value, ConfigWriteFate fate) => Assert.Equal(fate, Open().Write(offset, size, value).Fate);

    [Fact]
    public void A_write_across_a_field_and_its_neighbour_reaches_only_the_field()
    {
        _hardware.Poke(0x0C, 4, 0x0000_0000);
        Open(permissive: true).Write(0x0C, 4, 0x0000_5520);
        Assert.Equal([(0x0C, 1, 0x20u), (0x0F, 1, 0x00u)], _hardware.Writes);
    }

    [Theory]
    [InlineData(0x80, 0x0F, false), InlineData(0x80, 0x40, true), InlineData(0x80, 0xC0, true), InlineData(0x80, 0x80, true)]
    public void Bist_may_be_started_or_left_as_it_is(uint current, uint written, bool reachesHardware)
    {
        _hardware.Poke(0x0F, 1, current);
        Open().Write(0x0F, 1, written);
        Assert.Equal(reachesHardware, _hardware.Writes.Count == 1);
    }

    [Fact]
    public void Vital_product_data_can_be_read_but_not_written()
    {
        _hardware.WithCapabilities((0x40, 0x03));
        var config = Open();
        Assert.Equal(PciOpError.AccessDenied, config.Write(0x42, 2, 0x8000).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x42, 2, 0x0010).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x44, 4, 0x1234_5678).Error);
        Assert.Equal([(0x42, 2, 0x0010u)], _hardware.Writes);
    }

    [Fact]
    public void Power_states_change_and_pme_stays_hidden_and_disabled()
    {
        _hardware.WithCapabilities((0x40, 0x01)).Poke(0x42, 2, 0xFE03).Poke(0x44, 2, 0x0100);
        var config = Open();
        Assert.Equal(0x0000u, _hardware.Peek(0x44, 2));
        Assert.Equal(0x0603u, Read(config, 0x42, 2));
        Assert.Equal(PciOpError.Success, config.Write(0x44, 2, 0x0103).Error);
        Assert.Equal(0x0003u, _hardware.Peek(0x44, 2));
        Assert.Equal(PciOpError.AccessDenied, config.Write(0x44, 2, 0x0001).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x44, 2, 0x0000).Error);
        Assert.Equal(0x0000u, _hardware.Peek(0x44, 2));
    }

    [Fact]
    public void A_power_state_the_device_does_not_have_is_refused()
    {
        _hardware.WithCapabilities((0x40, 0x01)).Poke(0x42, 2, 0x0003);
        Assert.Equal(PciOpError.AccessDenied, Open().Write(0x44, 2, 0x0001).Error);
        Assert.Equal(PciOpError.AccessDenied, Open().Write(0x44, 2, 0x0002).Error);
    }

    [Theory]
    [InlineData(0x05, 0x0001u, 0x0010u), InlineData(0x11, 0x8000u, 0x0001u)]
    public void Message_interrupts_are_switched_by_request_and_not_by_the_control_register(byte capability, uint enable, uint other)
    {
        _hardware.WithCapabilities((0x40, capability));
        var config = Open();
        Assert.Equal(PciOpError.AccessDenied, config.Write(0x42, 2, enable).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x42, 2, 0).Error);
        Assert.Empty(_hardware.Writes);

        config = Open(interruptControl: true);
        Assert.Equal(PciOpError.AccessDenied, config.Write(0x42, 2, other).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x42, 2, enable).Error);
        Assert.Equal([(0x42, 2, enable)], _hardware.Writes);
    }

    [Fact]
    public void Interrupt_control_does_not_allow_both_kinds_of_message_interrupt_at_once()
    {
        _hardware.WithCapabilities((0x40, 0x05), (0x50, 0x11)).Poke(0x42, 2, 0x0001);
        var config = Open(interruptControl: true);
        Assert.Equal(PciOpError.AccessDenied, config.Write(0x52, 2, 0x8000).Error);
        Assert.Equal(PciOpError.Success, config.Write(0x52, 2, 0x4000).Error);
    }

    [Fact]
    public void A_bridge_has_two_bars_and_its_rom_further_up()
    {
        var bridge = new RegisterFile { Resources = [default, default, default, default, default, default, Rom] }.Poke(0x0E, 1, 0x01).Poke(0x18, 4, 0x0002_0100);
        var config = new VirtualConfigSpace(bridge, new ConfigPolicy(), new DeviceRecord());
        Assert.Equal(0xF7D0_0000u, Read(config, 0x38, 4));
        Assert.Equal(0x0002_0100u, Read(config, 0x18, 4));
        Assert.True(config.Write(0x18, 4, 0).Dropped);
    }

    [Fact]
    public void Another_header_type_is_refused_by_name() =>
        Assert.Contains("header type 2", Assert.Throws<NotSupportedException>(() => new VirtualConfigSpace(_hardware.Poke(0x0E, 1, 0x02), new ConfigPolicy(), new DeviceRecord())).Message, StringComparison.Ordinal);

    [Fact]
    public void A_chain_of_capabilities_that_bites_its_tail_ends()
    {
        _hardware.WithCapabilities((0x40, 0x09), (0x50, 0x09)).Poke(0x51, 1, 0x40);
        Assert.Equal(0x50_09u, Read(Open(), 0x40, 2));
    }

    [Fact]
    public void A_failing_register_fails_the_access_unless_a_field_knows_better()
    {
        _hardware.Failing[0x08] = PciOpError.DeviceNotFound;
        _hardware.Failing[0x00] = PciOpError.DeviceNotFound;
        var config = Open();
        Assert.Equal(PciOpError.DeviceNotFound, config.Read(0x08, 4, out _));
        Assert.Equal(0x10D3_8086u, Read(config, 0x00, 4));
    }

    [Fact]
    public void Release_gives_back_the_device_as_it_was_found()
    {
        var function = new RegisterFile { Resources = [Memory64, default, default, default, default, default, default] }.WithCapabilities((0x40, 0x01)).Poke(0x10, 4, 0x3FFE_000C).Poke(0x04, 2, 0x0002);
        var before = Enumerable.Range(0, 64).Select(i => function.Peek(i * 4, 4)).ToArray();
        var config = new VirtualConfigSpace(function, new ConfigPolicy(), new DeviceRecord());
        config.Write(0x04, 2, 0x0016);
        config.Write(0x0C, 1, 0x20);
        config.Write(0x44, 2, 0x0003);
        config.Write(0x10, 4, 0xFFFF_FFFF);
        function.Poke(0x10, 4, 0);

        Assert.Null(config.Release());

        Assert.Equal(before, Enumerable.Range(0, 64).Select(i => function.Peek(i * 4, 4)));
        Assert.Equal(0x3FFE_000Cu, Read(config, 0x10, 4));
    }

    [Fact]
    public void Release_says_why_a_device_was_not_reset() =>
        Assert.Equal("the host knows no way to reset it", new VirtualConfigSpace(new RegisterFile { CanReset = false }, new ConfigPolicy(), new DeviceRecord()).Release());

    private VirtualConfigSpace OpenWithQuirk(int offset, int size) =>
        new(_hardware, new ConfigPolicy { Quirks = [new ConfigQuirk(_hardware.Bdf, offset, size, 0xFF)] }, new DeviceRecord());

    [Fact]
    public void A_quirk_opens_its_register_and_nothing_beside_it()
    {
        var config = OpenWithQuirk(0x60, 1);
        Assert.False(config.Write(0x60, 4, 0x4433_2211).Dropped);
        Assert.Equal([(0x60, 1, 0x11u)], _hardware.Writes);
        Assert.Equal(0x11u, Read(config, 0x60, 4));
        Assert.True(config.Write(0x64, 4, 1).Dropped);
    }

    [Fact]
    public void A_quirk_at_a_register_with_a_rule_has_no_effect_and_is_reported()
    {
        var config = OpenWithQuirk(0x04, 2);
        config.Write(0x04, 2, 0x0146);
        Assert.Equal(0u, _hardware.Peek(0x04, 2) & 0x0140);
        Assert.Equal(0x04, Assert.Single(config.IgnoredQuirks).Offset);
        Assert.Empty(OpenWithQuirk(0x05, 1).IgnoredQuirks);
    }

    [Fact]
    public void A_misaligned_quirk_makes_its_accesses_fail()
    {
        var config = OpenWithQuirk(0x61, 2);
        Assert.Equal(PciOpError.InvalidOffset, config.Read(0x60, 4, out _));
        Assert.Equal(PciOpError.InvalidOffset, config.Write(0x62, 1, 1).Error);
        Assert.Empty(_hardware.Writes);
    }

    [Fact]
    public void Registers_that_a_permissive_guest_has_changed_are_put_back()
    {
        _hardware.Poke(0xA0, 4, 0x1234_5678).Poke(0x9FC, 4, 0xAABB_CCDD);
        foreach (var config in (VirtualConfigSpace[])[Open(permissive: true), OpenWithQuirk(0xA0, 4)])
        {
            config.Write(0xA0, 4, 0xFFFF_FFFF);
            config.Write(0x9FC, 2, 0);
            config.Release();
            Assert.Equal((0x1234_5678u, 0xAABB_CCDDu), (_hardware.Peek(0xA0, 4), _hardware.Peek(0x9FC, 4)));
        }
    }

    [Fact]
    public void Message_interrupts_the_guest_has_enabled_by_itself_are_off_when_it_lets_go()
    {
        _hardware.WithCapabilities((0x50, 0x05));
        var config = Open(interruptControl: true);
        Assert.Equal(PciOpError.Success, config.Write(0x52, 2, 0x0001).Error);
        Assert.Equal(0x0001u, _hardware.Peek(0x52, 2));
        config.Release();
        Assert.Equal(0u, _hardware.Peek(0x52, 2));
    }

    [Fact]
    public void Decoding_switched_on_wakes_a_function_that_sleeps()
    {
        _hardware.WithCapabilities((0x50, 0x01));
        var config = Open();
        config.Write(0x54, 2, 0x0A03);
        Assert.Equal(0x0A03u, _hardware.Peek(0x54, 2));
        config.Write(0x04, 2, 0x0002);
        Assert.Equal(0u, _hardware.Peek(0x54, 2));

        // Only when decoding was off.
        config.Write(0x54, 2, 0x0003);
        config.Write(0x04, 2, 0x0006);
        Assert.Equal(0x0003u, _hardware.Peek(0x54, 2));
    }
}
