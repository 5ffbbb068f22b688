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
    private readonly StoreTree _start;
    private readonly Dictionary<XenStorePath, ulong?> _accessed = [];
    private readonly List<StoreEdit> _edits = [];

    public StoreTransaction(StoreTree start) => _start = Tree = start;

    public StoreTree Tree { get; private set; }

    /// <summary>Nodes read, written or found missing so far.</summary>
    public int AccessedNodes => _accessed.Count;

    public IReadOnlyList<StoreEdit> Edits => _edits;

    /// <summary>Commit will depend on this node being as it was at the start, or still missing.</summary>
    public void Access(XenStorePath path)
    {
        if (!_accessed.ContainsKey(path))
            _accessed.Add(path, _start.Find(path)?.Generation);
    }

    public void Apply(StoreEdit edit)
    {
        Tree = Tree.Apply(edit);
        _edits.Add(edit);
    }

    public bool ConflictsWith(StoreTree current) =>
        _accessed.Any(node => current.Find(node.Key)?.Generation != node.Value);
}
