namespace XenPciBack.Protocol.Slots;

/// <summary>How a guest's virtual PCI buses come about.</summary>
public enum Topology
{
    /// <summary>One virtual bus, 0000:00, with 32 slots that are filled from the first. The default of xen-pciback.</summary>
    Vpci,

    /// <summary>Every device where it is on the host (xen-pciback's <c>passthrough=1</c>).</summary>
    Passthrough,
}

/// <summary>The topology of every guest of a host. One that is running keeps what it has.</summary>
/// <param name="Usual">For guests without a setting of their own.</param>
public sealed record Topologies(Topology Usual)
{
    /// <summary>By the guest's name, as the toolstack gives it in the node <c>domain</c>.</summary>
    public IReadOnlyDictionary<string, Topology> ByGuest { get; init; } = new Dictionary<string, Topology>();

    public Topology Of(string? guestName) => guestName is not null && ByGuest.TryGetValue(guestName, out var own) ? own : Usual;
}
