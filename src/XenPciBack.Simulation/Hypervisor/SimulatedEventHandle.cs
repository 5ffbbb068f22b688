using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// One open /dev/xen/evtchn, with the rules of its driver: a port that was read stays masked until it is unmasked,
/// events while it is masked are one, and ports with an event wait in a ring. Thread-safe.
/// </summary>
/// <remarks>
/// The ring has 64 entries and doubles when more ports are bound than it has entries. Entries of ports that were
/// unbound stay in it, so it can overflow; then the entry is lost, and every read fails until <see cref="Reset"/>.
/// Linux drivers/xen/evtchn.c.
/// </remarks>
internal sealed class SimulatedEventHandle(GuestPorts ports, Action<SimulatedEventHandle> onClosed) : IEventHandle
{
    private const int FirstRingSize = 64;

    // Guards everything below, and is waited on by the reader.
    private readonly object _lock = new();
    private readonly Dictionary<LocalPort, Binding> _bound = [];
    private readonly Queue<LocalPort> _ring = new();
    private int _ringSize;
    private bool _hasOverflowed, _isWoken, _disposed;

    private sealed class Binding
    {
        // Null until the hypervisor has bound the port, which may have an event before.
        public (GuestPort Peer, LocalPort Local)? Ends { get; set; }

        public bool IsPending { get; set; }

        public bool IsMasked { get; set; }
    }

    public LocalPort Bind(DomainId domain, RemotePort remotePort)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed), this);
        var binding = new Binding();
        if (ports.Bind(domain, remotePort, () => Raise(binding)) is not var (peer, local))
            throw new HostCallException(
                "xenevtchn_bind_interdomain", $"port {remotePort} of domain {domain}", Errnos.EINVAL);
        lock (_lock)
        {
            binding.Ends = (peer, local);
            _bound[local] = binding;
            if (_ringSize < _bound.Count) _ringSize = Math.Max(FirstRingSize, 2 * _ringSize);
        }
        // As on Xen a fresh binding is pending: an event may have come while nobody was bound.
        Raise(binding);
        return local;
    }

    public void Unbind(LocalPort port)
    {
        Binding? binding;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_bound.Remove(port, out binding)) throw NotBound("xenevtchn_unbind", port);
        }
        ports.Unbind(binding.Ends!.Value.Peer);
    }

    public void Notify(LocalPort port)
    {
        Binding? binding;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_bound.TryGetValue(port, out binding)) throw NotBound("xenevtchn_notify", port);
        }
        ports.NotifyGuest(binding.Ends!.Value.Peer);
    }

    public void Unmask(LocalPort port)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            // The driver skips a port that it does not know.
            if (!_bound.TryGetValue(port, out var binding)) return;
            binding.IsMasked = false;
            DeliverUnlessMasked(binding);
        }
    }

    public int Read(Span<LocalPort> ports, bool wait)
    {
        lock (_lock)
        {
            while (true)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                if (_hasOverflowed) return -1;
                var read = 0;
                while (read < ports.Length && _ring.TryDequeue(out var port)) ports[read++] = port;
                if (read > 0 || _isWoken || !wait)
                {
                    _isWoken = false;
                    return read;
                }
                Monitor.Wait(_lock);
            }
        }
    }

    public void Reset()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _ring.Clear();
            _hasOverflowed = false;
        }
    }

    public void Wake()
    {
        lock (_lock)
        {
            _isWoken = true;
            Monitor.PulseAll(_lock);
        }
    }

    public void Dispose()
    {
        List<Binding> bound;
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            bound = [.. _bound.Values];
            _bound.Clear();
            Monitor.PulseAll(_lock);
        }
        foreach (var binding in bound) ports.Unbind(binding.Ends!.Value.Peer);
        onClosed(this);
    }

    /// <summary>An event reaches dom0's end.</summary>
    private void Raise(Binding binding)
    {
        lock (_lock)
        {
            binding.IsPending = true;
            DeliverUnlessMasked(binding);
        }
    }

    private void DeliverUnlessMasked(Binding binding)
    {
        if (!binding.IsPending || binding.IsMasked) return;
        if (binding.Ends is not var (_, local) || !_bound.ContainsKey(local)) return;
        (binding.IsPending, binding.IsMasked) = (false, true);
        if (_ring.Count == _ringSize) _hasOverflowed = true;
        else _ring.Enqueue(local);
        Monitor.PulseAll(_lock);
    }

    private static HostCallException NotBound(string call, LocalPort port) =>
        new(call, $"local port {port}", Errnos.ENOTCONN);
}
