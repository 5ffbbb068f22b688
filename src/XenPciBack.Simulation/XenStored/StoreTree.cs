using System.Collections.Immutable;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>The whole store at one moment.</summary>
/// <param name="Root">"/".</param>
/// <param name="Generation">Edits so far.</param>
internal sealed record StoreTree(StoreNode Root, ulong Generation)
{
    /// <summary>What a fresh C xenstored holds ("/tool/xenstored"), and dom0's own entries that xen-init-dom0 adds.</summary>
    public static StoreTree Fresh { get; } = new StoreTree(
            new StoreNode([], [new XenStorePermission(XenStoreAccess.None, 0)], StoreNode.NoChildren, 0), 0)
        .Apply(new StoreEdit.MakeDirectory(new("/tool/xenstored"), null))
        .Apply(new StoreEdit.Write(new("/local/domain/0/domid"), "0"u8.ToArray(), null))
        .Apply(new StoreEdit.Write(new("/local/domain/0/name"), "Domain-0"u8.ToArray(), null));

    public StoreNode? Find(XenStorePath path)
    {
        var node = Root;
        foreach (var name in Names(path))
        {
            if (!node.Children.TryGetValue(name, out node))
                return null;
        }
        return node;
    }

    /// <summary>The node itself or the nearest of its ancestors that exists.</summary>
    public (XenStorePath Path, StoreNode Node) FindNearest(XenStorePath path)
    {
        while (true)
        {
            if (Find(path) is { } node)
                return (path, node);
            path = path.Parent;
        }
    }

    public StoreTree Apply(StoreEdit edit) => edit switch
    {
        StoreEdit.Write write => Change(write.Path, write.Creator, node => node with { Value = write.Value }),
        StoreEdit.MakeDirectory made => Find(made.Path) is null ? Change(made.Path, made.Creator, node => node) : this,
        StoreEdit.SetPermissions set => Change(set.Path, null, node => node with { Permissions = set.Permissions }),
        StoreEdit.Remove removed => Change(removed.Path.Parent, null,
            parent => parent with { Children = parent.Children.Remove(removed.Path.Name) }),
        _ => throw new ArgumentOutOfRangeException(nameof(edit)),
    };

    /// <summary>Without the nodes a dead domain owned, and without its entries in other nodes' permissions.</summary>
    public StoreTree WithoutDomain(int domid)
    {
        var generation = Generation + 1;
        return new(Strip(Root), generation);

        StoreNode Strip(StoreNode node)
        {
            var children = node.Children;
            foreach (var (name, child) in node.Children)
                children = child.Owner == domid ? children.Remove(name) : children.SetItem(name, Strip(child));
            var permissions = node.Permissions.RemoveAll(entry => entry.Domid == domid);
            return children.Count == node.Children.Count && permissions.Length == node.Permissions.Length
                ? node with { Children = children }
                : node with { Children = children, Permissions = permissions, Generation = generation };
        }
    }

    /// <summary>Changes one node, creating it and its missing ancestors first; each inherits its parent's permissions.</summary>
    private StoreTree Change(XenStorePath path, int? creator, Func<StoreNode, StoreNode> change)
    {
        var generation = Generation + 1;
        var names = Names(path);
        return new(Descend(Root, 0), generation);

        StoreNode Descend(StoreNode node, int depth)
        {
            if (depth == names.Length)
                return change(node) with { Generation = generation };
            var isOld = node.Children.TryGetValue(names[depth], out var child);
            child ??= new StoreNode([], Inherited(node.Permissions, creator), StoreNode.NoChildren, generation);
            return node with
            {
                Children = node.Children.SetItem(names[depth], Descend(child, depth + 1)),
                Generation = isOld ? node.Generation : generation,
            };
        }
    }

    private static ImmutableArray<XenStorePermission> Inherited(ImmutableArray<XenStorePermission> parent, int? creator) =>
        creator is { } owner ? parent.SetItem(0, parent[0] with { Domid = owner }) : parent;

    private static string[] Names(XenStorePath path) => path.Text.Split('/', StringSplitOptions.RemoveEmptyEntries);
}
