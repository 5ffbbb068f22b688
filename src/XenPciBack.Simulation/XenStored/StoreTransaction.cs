using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>
/// A client's private view: the tree as it was at the start plus the client's own edits. It may commit when no node it
/// accessed has changed in the common tree since; the edits are then applied again, to the tree as it is by then.
/// </summary>
/// <remarks>
/// C xenstored takes its picture of a node when the transaction first accesses that node, so a change between start and
/// first access is seen there and is a conflict here. A client retries either way; the snapshot is the stricter test.
/// </remarks>
internal sealed class StoreTransaction
{
    private readonly StoreTree start;
    private readonly Dictionary<XenStorePath, ulong?> accessed = [];
    private readonly List<StoreEdit> edits = [];

    public StoreTransaction(StoreTree start) => this.start = Tree = start;

    public StoreTree Tree { get; private set; }

    /// <summary>Nodes read, written or found missing so far.</summary>
    public int AccessedNodes => accessed.Count;

    public IReadOnlyList<StoreEdit> Edits => edits;

    /// <summary>Commit will depend on this node being as it was at the start, or still missing.</summary>
    public void Access(XenStorePath path)
    {
        if (!accessed.ContainsKey(path))
            accessed.Add(path, start.Find(path)?.Generation);
    }

    public void Apply(StoreEdit edit)
    {
        Tree = Tree.Apply(edit);
        edits.Add(edit);
    }

    public bool ConflictsWith(StoreTree current) =>
        accessed.Any(node => current.Find(node.Key)?.Generation != node.Value);
}
