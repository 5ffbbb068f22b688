using System.Collections.Immutable;

namespace XenPciBack.Protocol.Slots;

/// <summary>A device of the host, as far as its place in a guest depends on it.</summary>
/// <param name="Bridges">The bridges above it.</param>
public sealed record SlotCandidate(HostBdf Bdf, bool IsVirtualFunction, ImmutableArray<HostBdf> Bridges);

/// <summary>A device and where its guest sees it.</summary>
public sealed record SlotMember(SlotCandidate Device, VirtualBdf Virtual)
{
    public HostBdf Host => Device.Bdf;
}

/// <summary>
/// The places of a guest's devices. In vpci mode: segment 0000, bus 00, 32 slots; functions of one physical slot share a virtual
/// slot. In passthrough mode: the places of the host. A device always keeps its function number. Immutable.
/// </summary>
/// <remarks>Rules: Linux drivers/xen/xen-pciback/vpci.c and passthrough.c.</remarks>
public sealed class VirtualSlots
{
    public const int SlotCount = 32;

    private static readonly PciRoot VirtualRoot = new(0, 0);
    private static readonly VirtualSlots EmptyBus = new(Topology.Vpci, []), EmptyHost = new(Topology.Passthrough, []);

    private readonly ImmutableArray<SlotMember> _members;

    private VirtualSlots(Topology topology, ImmutableArray<SlotMember> members) => (Topology, _members) = (topology, members);

    public static VirtualSlots Empty(Topology topology) => topology == Topology.Vpci ? EmptyBus : EmptyHost;

    public Topology Topology { get; }

    /// <summary>Every device of the guest, in the order of arrival.</summary>
    public ImmutableArray<SlotMember> Members => _members;

    /// <summary>
    /// The buses the guest has to look at. In passthrough mode those that hold a device which is not below another one of the
    /// guest's: behind its own bridge a guest finds a device by itself.
    /// </summary>
    public ImmutableArray<PciRoot> Roots => Topology == Topology.Vpci
        ? [VirtualRoot]
        : [.. _members.Where(m => !m.Device.Bridges.Any(IsMember)).Select(m => new PciRoot(m.Virtual.Segment, m.Virtual.Bus)).Distinct()];

    /// <summary>
    /// Finds a place. On the virtual bus: the slot that holds another function of the same physical slot, else the lowest free
    /// one. A virtual function numbered 0 always gets a slot of its own, and shares it with nobody: its single-function header
    /// would keep the guest from looking for more.
    /// </summary>
    /// <returns>false if all 32 slots are taken.</returns>
    public bool TryAssign(SlotCandidate device, out VirtualBdf place, out VirtualSlots slots)
    {
        (place, slots) = (default, this);
        if (Topology == Topology.Passthrough)
        {
            place = new VirtualBdf(device.Bdf.Segment, device.Bdf.Bus, device.Bdf.Slot, device.Bdf.Function);
        }
        else
        {
            var slot = device.IsVirtualFunction && device.Bdf.Function == 0 ? FreeSlot() : SharedSlot(device.Bdf) ?? FreeSlot();
            if (slot is null) return false;
            place = new VirtualBdf(0, 0, slot.Value, device.Bdf.Function);
        }
        slots = Place(device, place);
        return true;
    }

    /// <summary>Puts a device where the xenstore says it was, for a guest that is already running.</summary>
    public VirtualSlots Place(SlotCandidate device, VirtualBdf place) => new(Topology, _members.Add(new(device, place)));

    public VirtualSlots Remove(HostBdf host) => new(Topology, _members.RemoveAll(m => m.Host == host));

    /// <summary>The device a request is aimed at. The address is the guest's own and is matched in full width.</summary>
    public HostBdf? Find(uint segment, uint bus, uint devFn)
    {
        foreach (var member in _members)
            if (member.Virtual.Segment == segment && member.Virtual.Bus == bus && member.Virtual.DevFn == devFn)
                return member.Host;
        return null;
    }

    private bool IsMember(HostBdf host) => _members.Any(m => m.Host == host);

    private int? SharedSlot(HostBdf host)
    {
        for (var slot = 0; slot < SlotCount; slot++)
            if (FirstIn(slot) is { } first && (first.Host.Segment, first.Host.Bus, first.Host.Slot) == (host.Segment, host.Bus, host.Slot)
                && !(first.Device.IsVirtualFunction && first.Host.Function == 0))
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
