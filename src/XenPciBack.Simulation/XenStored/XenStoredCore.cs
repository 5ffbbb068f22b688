using System.Globalization;
using XenPciBack.Protocol.XenStoreWire;
using static XenPciBack.Protocol.XenStoreWire.XenStoreErrorName;

namespace XenPciBack.Simulation.XenStored;

/// <summary>
/// xenstored without its sockets: requests in, replies and watch events out. Not thread-safe; the caller lets one
/// request in at a time. Behaviour and errors are those of C xenstored 4.17 (docs/misc/xenstore.txt, and measurements
/// where it is silent).
/// </summary>
internal sealed partial class XenStoredCore
{
    private readonly HashSet<StoreClient> _clients = [];
    private StoreTree _tree = StoreTree.Fresh;

    public void Add(StoreClient client) => _clients.Add(client);

    public void Remove(StoreClient client) => _clients.Remove(client);

    /// <summary>Carries out one request. Events it causes go to their clients before this returns, so before the reply.</summary>
    public StoreReply Handle(StoreClient client, XenStoreHeader request, ReadOnlySpan<byte> payload)
    {
        StoreTransaction? tx = null;
        if (request.TransactionId != 0 && !IgnoresTransaction(request.Type)
            && !client.Transactions.TryGetValue(request.TransactionId, out tx))
            return ENOENT;
        return request.Type switch
        {
            XenStoreMessageType.Control => Control(client, payload),
            XenStoreMessageType.Directory => Directory(client, tx, payload),
            XenStoreMessageType.DirectoryPart => DirectoryPart(client, tx, payload),
            XenStoreMessageType.Read => Read(client, tx, payload),
            XenStoreMessageType.GetPerms => GetPermissions(client, tx, payload),
            XenStoreMessageType.Write => Write(client, tx, payload),
            XenStoreMessageType.Mkdir => MakeDirectory(client, tx, payload),
            XenStoreMessageType.Rm => Remove(client, tx, payload),
            XenStoreMessageType.SetPerms => SetPermissions(client, tx, payload),
            XenStoreMessageType.Watch => Watch(client, payload),
            XenStoreMessageType.Unwatch => Unwatch(client, payload),
            XenStoreMessageType.ResetWatches => Reset(client),
            XenStoreMessageType.TransactionStart => StartTransaction(client, tx),
            XenStoreMessageType.TransactionEnd => EndTransaction(client, request.TransactionId, tx, payload),
            XenStoreMessageType.Introduce => Introduce(client, payload),
            XenStoreMessageType.Release => Release(client, payload),
            XenStoreMessageType.Resume => Resume(client, payload),
            XenStoreMessageType.SetTarget => SetTarget(client, payload),
            XenStoreMessageType.GetDomainPath => GetDomainPath(payload),
            XenStoreMessageType.IsDomainIntroduced => IsDomainIntroduced(payload),
            _ => ENOSYS,
        };
    }

    private static bool IgnoresTransaction(XenStoreMessageType type) =>
        type is XenStoreMessageType.Watch or XenStoreMessageType.Unwatch
        || type > XenStoreMessageType.DirectoryPart || !Enum.IsDefined(type); // unknown here, so ENOSYS comes first

    private StoreReply StartTransaction(StoreClient client, StoreTransaction? tx)
    {
        if (tx is not null)
            return EBUSY;
        if (!client.IsPrivileged && client.Transactions.Count >= StoreQuota.Transactions)
            return ENOSPC;
        var id = client.NewTransactionId();
        client.Transactions.Add(id, new StoreTransaction(_tree));
        return StoreReply.OfStrings(id.ToString(CultureInfo.InvariantCulture));
    }

    private StoreReply EndTransaction(StoreClient client, uint id, StoreTransaction? tx, ReadOnlySpan<byte> payload)
    {
        if (!XenStorePayload.TryTakeString(ref payload, out var decision) || decision is not ("T" or "F"))
            return EINVAL;
        if (tx is null)
            return ENOENT;
        client.Transactions.Remove(id);
        if (decision == "F")
            return StoreReply.Ok;
        if (tx.ConflictsWith(_tree))
            return EAGAIN;
        Store(tx.Edits);
        return StoreReply.Ok;
    }

    private static StoreReply Reset(StoreClient client)
    {
        client.Watches.Clear();
        client.Transactions.Clear();
        return StoreReply.Ok;
    }

    private static StoreReply Control(StoreClient client, ReadOnlySpan<byte> payload)
    {
        if (!client.IsPrivileged)
            return EACCES;
        return XenStorePayload.TryTakeString(ref payload, out var command) ? command switch
        {
            "help" => StoreReply.OfText("Supported commands:\n\tcheck\n\tprint <string>\n\thelp <no parameters>\n"),
            "check" or "print" => StoreReply.Ok,
            _ => EINVAL,
        } : EINVAL;
    }
}
