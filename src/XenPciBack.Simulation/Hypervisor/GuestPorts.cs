using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// The event channels between guests and dom0, as the hypervisor has them: a guest allocates a port, dom0 binds to it, and an
/// event to an end that is not bound is dropped. Thread-safe.
/// </summary>
public sealed class GuestPorts
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(DomainId Guest, RemotePort Number), GuestPort> _open = [];
    private readonly Dictionary<GuestPort, Action> _bound = [];
    private readonly Dictionary<DomainId, uint> _nextNumber = [];

    // 0 is never a port, and dom0 has its VIRQs and xenstore's port before any backend comes.
    private uint _nextLocal = 20;

    /// <summary>Ports dom0 has bound and not unbound. 0 when every backend has let go.</summary>
    public int Bound
    {
        get
        {
            lock (_lock)
                return _bound.Count;
        }
    }

    /// <summary>A guest allocates a port that dom0 may bind to.</summary>
    public GuestPort Allocate(DomainId guest)
    {
        lock (_lock)
        {
            var number = new RemotePort(_nextNumber.GetValueOrDefault(guest, 10u));
            _nextNumber[guest] = number.Value + 1;
            return _open[(guest, number)] = new GuestPort(this, guest, number);
        }
    }

    /// <summary>The domain is destroyed, and its ends of all channels with it.</summary>
    public void CloseAll(DomainId guest)
    {
        lock (_lock)
            foreach (var port in _open.Keys.Where(p => p.Guest == guest).ToArray())
                _open.Remove(port);
    }

    /// <summary>Binds dom0's end.</summary>
    /// <param name="raise">Marks dom0's end pending. Must not block.</param>
    /// <returns>null if there is no such port or it is bound already.</returns>
    internal (GuestPort Peer, LocalPort Local)? Bind(DomainId guest, RemotePort number, Action raise)
    {
        lock (_lock)
            return _open.TryGetValue((guest, number), out var peer) && _bound.TryAdd(peer, raise) ? (peer, new LocalPort(_nextLocal++)) : null;
    }

    internal void Unbind(GuestPort port)
    {
        lock (_lock)
            _bound.Remove(port);
    }

    internal void NotifyDom0(GuestPort port)
    {
        Action? raise;
        lock (_lock)
            if (!IsOpen(port) || !_bound.TryGetValue(port, out raise)) return;
        raise();
    }

    internal void NotifyGuest(GuestPort port)
    {
        lock (_lock)
            if (!IsOpen(port)) return;
        port.Raise();
    }

    internal void Close(GuestPort port)
    {
        lock (_lock)
            _open.Remove((port.Guest, port.Number));
    }

    private bool IsOpen(GuestPort port) => _open.ContainsKey((port.Guest, port.Number));
}
