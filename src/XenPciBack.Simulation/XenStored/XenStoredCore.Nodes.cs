using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol.XenStoreWire;
using static XenPciBack.Protocol.XenStoreWire.XenStoreErrorName;

namespace XenPciBack.Simulation.XenStored;

// Reading and changing nodes.
internal sealed partial class XenStoredCore
{
    // Special names have permissions, which say who may hear of them; they can be set, but not asked for.
    private readonly Dictionary<XenStorePath, ImmutableArray<XenStorePermission>> _specialPermissions = new()
    {
        [XenStorePath.IntroduceDomain] = [new(XenStoreAccess.None, 0)],
        [XenStorePath.ReleaseDomain] = [new(XenStoreAccess.None, 0)],
    };

    private StoreReply Read(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload) =>
        Find(client, tx, payload, XenStoreAccess.Read, out var node) is { } error ? error : StoreReply.OfBytes(node.Value);

    private StoreReply Directory(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload) =>
        Find(client, tx, payload, XenStoreAccess.Read, out var node) is { } error ? error
        : node.ChildrenLength > XenStoreLimits.SentPayload ? E2BIG
        : StoreReply.OfStrings([.. node.Children.Keys]);

    /// <summary>Whole names from a byte offset on, as many as fit after the generation; an empty name ends the last part.</summary>
    private StoreReply DirectoryPart(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        if (!XenStorePayload.TrySplit(payload, out var arguments) || arguments.Count != 2
            || !int.TryParse(arguments[1], NumberStyles.None, CultureInfo.InvariantCulture, out var offset))
            return EINVAL;
        if (Find(client, tx, payload, XenStoreAccess.Read, out var node) is { } error)
            return error;
        List<string> part = [node.Generation.ToString(CultureInfo.InvariantCulture)];
        var room = XenStoreLimits.SentPayload - part[0].Length - 2; // its NUL, and the empty name
        var position = 0;
        foreach (var name in node.Children.Keys)
        {
            position += name.Length + 1;
            if (position <= offset)
                continue;
            room -= name.Length + 1;
            if (room < 0)
                return StoreReply.OfStrings([.. part]);
            part.Add(name);
        }
        return StoreReply.OfStrings([.. part, ""]);
    }

    private StoreReply GetPermissions(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload) =>
        Find(client, tx, payload, XenStoreAccess.Read, out var node) is { } error ? error
        : StoreReply.OfStrings([.. node.Permissions.Select(permission => permission.ToString())]);

    private StoreReply SetPermissions(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        if (!XenStorePayload.TrySplit(payload, out var arguments) || arguments.Count < 2)
            return EINVAL;
        if (!client.IsPrivileged && arguments.Count - 1 > StoreQuota.PermissionsPerNode)
            return ENOSPC;
        var permissions = ImmutableArray.CreateBuilder<XenStorePermission>();
        foreach (var argument in arguments.Skip(1))
        {
            if (!XenStorePermission.TryParse(argument, out var permission))
                return EINVAL;
            permissions.Add(permission);
        }
        if (XenStorePath.TryParse(arguments[0], out var special) && _specialPermissions.ContainsKey(special))
        {
            if (!client.IsPrivileged)
                return EACCES;
            _specialPermissions[special] = permissions.ToImmutable();
            return StoreReply.Ok;
        }
        if (Find(client, tx, payload, XenStoreAccess.Write, out var node, out var path) is { } error)
            return error;
        if (!client.IsPrivileged && !IsSelf(client, node.Owner))
            return EACCES;
        if (!client.IsPrivileged && permissions[0].Domid != node.Owner)
            return EPERM;
        return Commit(tx, new StoreEdit.SetPermissions(path, permissions.ToImmutable()));
    }

    private StoreReply Write(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        var value = payload;
        if (!XenStorePayload.TryTakeString(ref value, out _))
            return EINVAL;
        var error = Find(client, tx, payload, XenStoreAccess.Write, out var node, out var path);
        if (error is not (null or ENOENT))
            return error;
        return RefuseToStore(client, tx, path, node, value.Length) is { } refusal ? refusal
            : Commit(tx, new StoreEdit.Write(path, value.ToArray(), CreatorOf(client)));
    }

    private StoreReply MakeDirectory(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        var error = Find(client, tx, payload, XenStoreAccess.Write, out var node, out var path);
        if (error is null)
            return StoreReply.Ok;
        if (error != ENOENT)
            return error;
        return RefuseToStore(client, tx, path, null, 0) is { } refusal ? refusal
            : Commit(tx, new StoreEdit.MakeDirectory(path, CreatorOf(client)));
    }

    private StoreReply Remove(StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        var error = Find(client, tx, payload, XenStoreAccess.Write, out var node, out var path);
        if (error is null && path == XenStorePath.Root)
            return EINVAL;
        if (error is not null)
            // A child that is already gone is what the caller wanted; a missing parent shows a wrong path.
            return error == ENOENT && Look(tx, path.Parent) is not null ? StoreReply.Ok : error;
        AccessSubtree(tx, path, node);
        tx?.Access(path.Parent);
        return Commit(tx, new StoreEdit.Remove(path));
    }

    private string? Find(
        StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload, XenStoreAccess access, out StoreNode node) =>
        Find(client, tx, payload, access, out node, out _);

    /// <summary>
    /// The node that the payload's first string names; null, or the error. For a missing node the nearest ancestor
    /// decides whether the client may know that it is missing (ENOENT) or not (EACCES).
    /// </summary>
    private string? Find(
        StoreClient client, StoreTransaction? tx, ReadOnlySpan<byte> payload, XenStoreAccess access,
        out StoreNode node, out XenStorePath path)
    {
        node = null!;
        path = default;
        if (!XenStorePayload.TryTakeString(ref payload, out var text) || !TryResolve(client, text, out path))
            return EINVAL;
        if (tx is not null && !client.IsPrivileged && tx.AccessedNodes >= StoreQuota.NodesInTransaction)
            return ENOSPC;
        if (Look(tx, path) is { } found)
        {
            node = found;
            return MayAccess(client, node.Permissions, access) ? null : EACCES;
        }
        var nearest = (tx?.Tree ?? _tree).FindNearest(path);
        return MayAccess(client, nearest.Node.Permissions, access) ? ENOENT : EACCES;
    }

    private StoreNode? Look(StoreTransaction? tx, XenStorePath path)
    {
        tx?.Access(path);
        return (tx?.Tree ?? _tree).Find(path);
    }

    private static void AccessSubtree(StoreTransaction? tx, XenStorePath path, StoreNode node)
    {
        if (tx is null)
            return;
        tx.Access(path);
        foreach (var (name, child) in node.Children)
            AccessSubtree(tx, path / name, child);
    }

    /// <summary>The quota error, if any, of storing a value in a node that is missing when <paramref name="node"/> is null.</summary>
    private string? RefuseToStore(StoreClient client, StoreTransaction? tx, XenStorePath path, StoreNode? node, int valueLength)
    {
        var view = tx?.Tree ?? _tree;
        var (nearestPath, nearest) = view.FindNearest(path);
        if (node is null)
            tx?.Access(nearestPath); // its set of children is about to change
        if (client.IsPrivileged)
            return null;
        if (valueLength + (node?.ChildrenLength ?? 0) > StoreQuota.NodeSize)
            return ENOSPC;
        if (node is not null)
            return null;
        var names = path.Text[nearestPath.Text.Length..].Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (nearest.Value.Length + nearest.ChildrenLength + names[0].Length + 1 > StoreQuota.NodeSize
            || view.Root.CountOwnedBy(client.Domid) + names.Length > StoreQuota.NodesPerDomain)
            return ENOSPC;
        return null;
    }

    private StoreReply Commit(StoreTransaction? tx, StoreEdit edit)
    {
        if (tx is not null)
            tx.Apply(edit);
        else
            Store([edit]);
        return StoreReply.Ok;
    }

    /// <summary>Makes edits visible together, then fires once for each node that differs in the end.</summary>
    private void Store(IReadOnlyList<StoreEdit> edits)
    {
        var before = _tree;
        _tree = edits.Aggregate(_tree, (edited, edit) => edited.Apply(edit));
        foreach (var node in edits.GroupBy(edit => edit.Path))
        {
            if ((before.Find(node.Key), _tree.Find(node.Key)) is var (old, now) && (old ?? now) is not null)
                Fire(new(node.Key, old, now,
                    (now is null ? before : _tree).Find(node.Key.Parent)!, node.Any(edit => edit is StoreEdit.Remove)));
        }
    }

    private bool MayAccess(StoreClient client, ImmutableArray<XenStorePermission> permissions, XenStoreAccess access)
    {
        if (client.IsPrivileged || IsSelf(client, permissions[0].Domid))
            return true;
        foreach (var entry in permissions.AsSpan(1..))
        {
            if (IsSelf(client, entry.Domid))
                return entry.Access.HasFlag(access);
        }
        return permissions[0].Access.HasFlag(access);
    }

    private bool IsSelf(StoreClient client, int domid) =>
        domid == client.Domid || (_targets.TryGetValue(client.Domid, out var target) && target == domid);

    /// <summary>The absolute path of a node; special names are none.</summary>
    private static bool TryResolve(StoreClient client, string text, out XenStorePath path) =>
        XenStorePath.TryParse(text, out path) && !path.IsSpecial
        && (path.IsAbsolute || XenStorePath.TryParse($"{client.Home}/{text}", out path));

    private static int? CreatorOf(StoreClient client) => client.IsPrivileged ? null : client.Domid;
}
