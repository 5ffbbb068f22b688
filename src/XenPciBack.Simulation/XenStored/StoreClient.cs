using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>What xenstored knows of one connection.</summary>
/// <param name="domid">Whose connection it is; 0 is privileged.</param>
/// <param name="onEvent">Takes each watch event (path, token) for sending; called under xenstored's lock, must not block.</param>
internal sealed class StoreClient(int domid, Action<string, string> onEvent)
{
    private uint _lastTransactionId;

    public int Domid { get; } = domid;

    public bool IsPrivileged => Domid == 0;

    /// <summary>Where this client's relative paths start.</summary>
    public XenStorePath Home { get; } = XenStorePath.DomainHome(domid);

    public List<StoreWatch> Watches { get; } = [];

    public Dictionary<uint, StoreTransaction> Transactions { get; } = [];

    public void Send(string path, string token) => onEvent(path, token);

    public uint NewTransactionId()
    {
        do
            _lastTransactionId++;
        while (_lastTransactionId == 0 || Transactions.ContainsKey(_lastTransactionId));
        return _lastTransactionId;
    }
}

/// <param name="Given">The path as the client gave it, perhaps relative: the form its events take.</param>
/// <param name="Path">Absolute or special.</param>
internal sealed record StoreWatch(string Given, XenStorePath Path, string Token);
