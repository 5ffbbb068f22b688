using System.Collections.Immutable;

namespace XenPciBack.Protocol.Slots;

/// <summary>A device and where its guest sees it.</summary>
public readonly record struct SlotMember(HostBdf Host, VirtualBdf Virtual, bool IsVirtualFunction);

/// <summary>
/// The virtual PCI bus of one guest in vpci mode: segment 0000, bus 00, 32 slots. Functions of one physical slot share a
/// virtual slot and always keep their function number. Immutable.
/// </summary>
/// <remarks>Rules: Linux drivers/xen/xen-pciback/vpci.c.</remarks>
public sealed class VirtualSlots
{
    public const int SlotCount = 32;

    public static readonly VirtualSlots Empty = new([]);

    private readonly ImmutableArray<SlotMember> _members;

    private VirtualSlots(ImmutableArray<SlotMember> members) => _members = members;

    /// <summary>Every device on the bus, in the order of arrival.</summary>
    public ImmutableArray<SlotMember> Members => _members;

    /// <summary>
    /// Finds a place: the slot that holds another function of the same physical slot, else the lowest free one. A virtual
    /// function numbered 0 always gets a slot of its own, and shares it with nobody: its single-function header would keep
    /// the guest from looking for more.
    /// </summary>
    /// <returns>false if all 32 slots are taken.</returns>
    public bool TryAssign(HostBdf host, bool isVirtualFunction, out VirtualBdf place, out VirtualSlots slots)
    {
        var slot = isVirtualFunction && host.Function == 0 ? FreeSlot() : SharedSlot(host) ?? FreeSlot();
        (place, slots) = (default, this);
        if (slot is null) return false;
        place = new VirtualBdf(0, 0, slot.Value, host.Function);
        slots = Place(host, isVirtualFunction, place);
        return true;
    }

    /// <summary>Puts a device where the xenstore says it was, for a guest that is already running.</summary>
    public VirtualSlots Place(HostBdf host, bool isVirtualFunction, VirtualBdf place) => new(_members.Add(new(host, place, isVirtualFunction)));

    public VirtualSlots Remove(HostBdf host) => new(_members.RemoveAll(m => m.Host == host));

    /// <summary>The device a request is aimed at. The address is the guest's own and is matched in full width.</summary>
    public HostBdf? Find(uint segment, uint bus, uint devFn)
    {
        foreach (var member in _members)
            if (member.Virtual.Segment == segment && member.Virtual.Bus == bus && member.Virtual.DevFn == devFn)
                return member.Host;
        return null;
    }

    private int? SharedSlot(HostBdf host)
    {
        for (var slot = 0; slot < SlotCount; slot++)
            if (FirstIn(slot) is { } first && (first.Host.Segment, first.Host.Bus, first.Host.Slot) == (host.Segment, host.Bus, host.Slot)
                && !(first.IsVirtualFunction && first.Host.Function == 0))
                return slot;
        return null;
    }

    private int? FreeSlot()
    {
        for (var slot = 0; slot < SlotCount; slot++)
            if (FirstIn(slot) is null)
                return slot;
        return null;
    }

    private SlotMember? FirstIn(int slot)
    {
        foreach (var member in _members)
            if (member.Virtual.Slot == slot)
                return member;
        return null;
    }
}
