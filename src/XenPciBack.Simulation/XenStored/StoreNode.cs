using System.Collections.Immutable;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>One node with everything below it. Immutable, so that whoever holds a tree holds a snapshot.</summary>
/// <param name="Value">Raw bytes; never written to.</param>
/// <param name="Permissions">The owner first; never empty.</param>
/// <param name="Children">By name, in ordinal order.</param>
/// <param name="Generation">Number of the edit that last changed value, permissions or the set of children's names.</param>
internal sealed record StoreNode(
    byte[] Value,
    ImmutableArray<XenStorePermission> Permissions,
    ImmutableSortedDictionary<string, StoreNode> Children,
    ulong Generation)
{
    public static readonly ImmutableSortedDictionary<string, StoreNode> NoChildren =
        ImmutableSortedDictionary.Create<string, StoreNode>(StringComparer.Ordinal);

    public int Owner => Permissions[0].Domid;

    /// <summary>The names of the children as DIRECTORY sends them, in bytes: one NUL after each.</summary>
    public int ChildrenLength => Children.Keys.Sum(name => name.Length + 1);

    /// <summary>Nodes of this subtree, itself included, that a domain owns.</summary>
    public int CountOwnedBy(int domid) =>
        (Owner == domid ? 1 : 0) + Children.Values.Sum(child => child.CountOwnedBy(domid));
}
