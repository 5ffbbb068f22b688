using XenPciBack.Protocol.XenStoreWire;
using static XenPciBack.Protocol.XenStoreWire.XenStoreErrorName;

namespace XenPciBack.Simulation.XenStored;

// Who hears of what.
internal sealed partial class XenStoredCore
{
    /// <summary>A node was written, or removed if the value is null.</summary>
    public event Action<XenStorePath, byte[]?>? Changed;

    private static StoreReply Watch(StoreClient client, ReadOnlySpan<byte> payload)
    {
        // A third string would be the depth, which C xenstored learns in 4.22.
        if (!XenStorePayload.TrySplit(payload, out var arguments) || arguments.Count != 2)
            return EINVAL;
        if (!XenStorePath.TryParse(arguments[0], out var path) || !(path.IsSpecial || TryResolve(client, arguments[0], out path)))
            return EINVAL;
        var watch = new StoreWatch(arguments[0], path, arguments[1]);
        if (client.Watches.Contains(watch))
            return EEXIST;
        if (!client.IsPrivileged && client.Watches.Count >= StoreQuota.Watches)
            return E2BIG;
        client.Watches.Add(watch);
        return StoreReply.Ok with { FirstEvent = watch };
    }

    private static StoreReply Unwatch(StoreClient client, ReadOnlySpan<byte> payload)
    {
        if (!XenStorePayload.TrySplit(payload, out var arguments) || arguments.Count != 2)
            return EINVAL;
        var removed = client.Watches.RemoveAll(watch => watch.Given == arguments[0] && watch.Token == arguments[1]);
        return removed > 0 ? StoreReply.Ok : ENOENT;
    }

    private void Fire(StoreChange change)
    {
        Changed?.Invoke(change.Path, change.After?.Value);
        foreach (var client in _clients)
        {
            foreach (var watch in client.Watches)
            {
                if (change.Path.IsAtOrBelow(watch.Path))
                    Send(client, watch, change.Path, change.Before, change.After, change.Parent);
                else if (change is { Before: { } removed, WasRemoved: true } && watch.Path.IsAtOrBelow(change.Path)
                    && new StoreTree(removed, 0) is var below
                    && below.Find(Below(watch.Path, change.Path)) is { } lost)
                    // Removed with its ancestor: its own watches hear of it by its own name.
                    Send(client, watch, watch.Path, lost, null, below.Find(Below(watch.Path.Parent, change.Path))!);
            }
        }
    }

    private void FireSpecial(XenStorePath name)
    {
        foreach (var client in _clients.Where(client => MayAccess(client, _specialPermissions[name], XenStoreAccess.Read)))
        {
            foreach (var watch in client.Watches.Where(watch => watch.Path == name))
                client.Send(name.Text, watch.Token);
        }
    }

    /// <summary>Only to those who may read the node, before or after the change, or its parent (XSA-115).</summary>
    private void Send(
        StoreClient client, StoreWatch watch, XenStorePath path, StoreNode? before, StoreNode? after, StoreNode parent)
    {
        if (IsReadable(before) || IsReadable(after) || IsReadable(parent))
            client.Send(watch.Given.StartsWith('/') ? path.Text : path.Text[(client.Home.Text.Length + 1)..], watch.Token);

        bool IsReadable(StoreNode? node) => node is not null && MayAccess(client, node.Permissions, XenStoreAccess.Read);
    }

    private static XenStorePath Below(XenStorePath path, XenStorePath ancestor) =>
        path == ancestor ? XenStorePath.Root : new(path.Text[ancestor.Text.Length..]);
}
