using XenPciBack.Protocol.Slots;

namespace XenPciBack.Protocol.Tests.Slots;

public class VirtualSlotsTests
{
    private static readonly VirtualSlots Vpci = VirtualSlots.Empty(Topology.Vpci), Passthrough = VirtualSlots.Empty(Topology.Passthrough);

    private static VirtualSlots Add(VirtualSlots slots, string host, string expected, bool isVirtualFunction = false)
    {
        Assert.True(slots.TryAssign(new SlotCandidate(HostBdf.Parse(host), isVirtualFunction, []), out var place, out var next));
        Assert.Equal(expected, place.ToNodeText());
        return next;
    }

    [Fact]
    public void A_lone_function_keeps_its_number() => Add(Vpci, "0000:03:00.3", "0000:00:00.03");

    [Fact]
    public void Functions_of_one_slot_stay_together_and_strangers_do_not_join_them()
    {
        var slots = Add(Vpci, "0000:03:00.0", "0000:00:00.00");
        slots = Add(slots, "0000:04:00.0", "0000:00:01.00");
        slots = Add(slots, "0000:03:00.1", "0000:00:00.01");
        Add(slots, "0001:03:00.2", "0000:00:02.02");
    }

    [Fact]
    public void A_virtual_function_0_stays_alone_in_its_slot()
    {
        var slots = Add(Vpci, "0000:03:10.0", "0000:00:00.00", isVirtualFunction: true);
        slots = Add(slots, "0000:03:10.1", "0000:00:01.01", isVirtualFunction: true);
        Add(slots, "0000:03:10.2", "0000:00:01.02", isVirtualFunction: true);
    }

    [Fact]
    public void The_33rd_slot_does_not_exist_and_a_freed_one_is_used_again()
    {
        var slots = Vpci;
        for (var i = 0; i < 32; i++) slots = Add(slots, $"0000:{i:x2}:00.0", $"0000:00:{i:x2}.00");
        Assert.False(slots.TryAssign(new SlotCandidate(HostBdf.Parse("0000:40:00.0"), false, []), out _, out var same));
        Assert.Same(slots, same);
        Add(slots.Remove(HostBdf.Parse("0000:05:00.0")), "0000:40:00.0", "0000:00:05.00");
    }

    [Fact]
    public void A_slot_is_free_only_when_its_last_function_has_left()
    {
        var slots = Add(Add(Vpci, "0000:03:00.0", "0000:00:00.00"), "0000:03:00.1", "0000:00:00.01");
        slots = slots.Remove(HostBdf.Parse("0000:03:00.0"));
        slots = Add(slots, "0000:04:00.0", "0000:00:01.00");
        Assert.Equal(HostBdf.Parse("0000:03:00.1"), slots.Find(0, 0, 0x01));
    }

    [Theory]
    [InlineData(0u, 0u, 0x08u, true), InlineData(0u, 0u, 0x00u, false), InlineData(1u, 0u, 0x08u, false), InlineData(0u, 1u, 0x08u, false), InlineData(0u, 0u, 0x108u, false)]
    public void A_request_finds_a_device_by_its_whole_address(uint segment, uint bus, uint devFn, bool found)
    {
        var slots = Add(Add(Vpci, "0000:03:00.1", "0000:00:00.01"), "0000:04:00.0", "0000:00:01.00");
        Assert.Equal(found, slots.Find(segment, bus, devFn) is not null);
    }

    [Fact]
    public void The_virtual_bus_is_its_only_root() =>
        Assert.Equal<PciRoot>([new(0, 0)], Add(Add(Vpci, "0000:03:00.0", "0000:00:00.00"), "0001:04:00.0", "0000:00:01.00").Roots);

    [Fact]
    public void In_passthrough_mode_every_device_is_where_it_is_on_the_host()
    {
        var slots = Add(Add(Passthrough, "0000:03:00.1", "0000:03:00.01"), "0001:04:1f.7", "0001:04:1f.07");
        Assert.Equal(HostBdf.Parse("0001:04:1f.7"), slots.Find(1, 4, 0xFF));
        Assert.Null(slots.Find(0, 4, 0xFF));
    }

    [Fact]
    public void In_passthrough_mode_there_are_more_than_32_places()
    {
        var slots = Passthrough;
        for (var i = 0; i < 40; i++) slots = Add(slots, $"0000:{i:x2}:00.0", $"0000:{i:x2}:00.00");
        Assert.Equal(40, slots.Roots.Length);
    }

    [Fact]
    public void In_passthrough_mode_a_root_is_published_once_and_not_for_what_lies_behind_a_bridge_of_the_guests()
    {
        var bridge = HostBdf.Parse("0000:00:1c.0");
        Passthrough.TryAssign(new SlotCandidate(bridge, false, []), out _, out var slots);
        slots.TryAssign(new SlotCandidate(HostBdf.Parse("0000:03:00.0"), false, [bridge]), out _, out slots);
        slots.TryAssign(new SlotCandidate(HostBdf.Parse("0000:03:00.1"), false, [bridge]), out _, out slots);
        Assert.Equal<PciRoot>([new(0, 0)], slots.Roots);
        Assert.Equal<PciRoot>([new(0, 3)], slots.Remove(bridge).Roots);
    }
}
