namespace XenPciBack.XenStore;

/// <summary>
/// A view of the store that others do not disturb, and writes that become visible together. Given by
/// <see cref="XenStoreClient.TransactAsync{T}"/> and usable until its body ends; bound to the connection it was
/// opened on and lost with it.
/// </summary>
public sealed class XenStoreTransaction
{
    internal XenStoreTransaction(XenStoreConnection connection, uint id)
    {
        Connection = connection;
        Id = id;
    }

    /// <summary>xenstored's number for it; never 0, which means "no transaction" on the wire.</summary>
    public uint Id { get; }

    internal XenStoreConnection Connection { get; }

    public override string ToString() => $"transaction {Id}";
}
