using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// One dom0 process's event channels, with the rules of /dev/xen/evtchn: a delivered port stays masked until unmasked, events
/// while masked are remembered as one, and one reader thread runs all callbacks. Disposing unbinds everything, as the end of
/// the process would; the guests' ends can then be bound again. Thread-safe.
/// </summary>
public sealed class SimulatedEventChannels : IEventChannels
{
    private readonly GuestPorts _ports;
    private readonly ConcurrentDictionary<EventChannel, bool> _channels = new();
    private readonly BlockingCollection<Action> _deliveries = [];
    private readonly Thread _reader;

    public SimulatedEventChannels(GuestPorts ports)
    {
        _ports = ports;
        _reader = new Thread(ReadEvents) { Name = "simulated-evtchn", IsBackground = true };
        _reader.Start();
    }

    /// <summary>A callback threw. Raised on the reader thread, which goes on; the port stays masked.</summary>
    public event Action<Exception>? CallbackFailed;

    public IEventChannel Bind(DomainId domain, RemotePort remotePort, Action onEvent)
    {
        ObjectDisposedException.ThrowIf(_deliveries.IsAddingCompleted, this);
        var channel = new EventChannel(this, onEvent);
        if (_ports.Bind(domain, remotePort, channel.Raise) is not var (peer, local))
            throw new HostCallException("xenevtchn_bind_interdomain", $"port {remotePort} of domain {domain}", Errnos.EINVAL);
        channel.Bound(peer, local);
        _channels[channel] = true;
        // As on Xen a fresh binding is pending: an event may have come while nobody was bound.
        channel.Raise();
        return channel;
    }

    public Task ComeRoundAsync()
    {
        var round = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _deliveries.Add(round.SetResult);
        return round.Task;
    }

    /// <summary>Stops the reader and unbinds every port. Waits for a callback in progress unless called from one.</summary>
    public void Dispose()
    {
        _deliveries.CompleteAdding();
        foreach (var channel in _channels.Keys) channel.Dispose();
        if (Thread.CurrentThread != _reader) _reader.Join();
    }

    private void ReadEvents()
    {
        foreach (var deliver in _deliveries.GetConsumingEnumerable())
        {
            try
            {
                deliver();
            }
#pragma warning disable CA1031 // One guest's faulty callback must not stop the events of all the others.
            catch (Exception fault)
#pragma warning restore CA1031
            {
                CallbackFailed?.Invoke(fault);
            }
        }
    }

    private void Deliver(EventChannel channel)
    {
        try
        {
            _deliveries.Add(channel.Run);
        }
        catch (InvalidOperationException)
        {
            // The process is ending: nobody is left to be told.
        }
    }

    private sealed class EventChannel(SimulatedEventChannels owner, Action onEvent) : IEventChannel
    {
        private readonly Lock _lock = new();
        private GuestPort? _peer;
        private bool _isPending, _isMasked, _disposed;

        public LocalPort Port { get; private set; }

        public void Bound(GuestPort peer, LocalPort local) => (_peer, Port) = (peer, local);

        /// <summary>An event reaches dom0's end.</summary>
        public void Raise()
        {
            lock (_lock)
            {
                _isPending = true;
                DeliverUnlessMasked();
            }
        }

        /// <summary>On the reader thread. An event on its way to a channel disposed meanwhile is dropped.</summary>
        public void Run()
        {
            if (!Volatile.Read(ref _disposed)) onEvent();
        }

        public void Unmask()
        {
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                _isMasked = false;
                DeliverUnlessMasked();
            }
        }

        public void Notify()
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed), this);
            owner._ports.NotifyGuest(_peer!);
        }

        public void Dispose()
        {
            lock (_lock)
            {
                if (_disposed) return;
                _disposed = true;
            }
            owner._channels.TryRemove(this, out _);
            owner._ports.Unbind(_peer!);
        }

        private void DeliverUnlessMasked()
        {
            if (!_isPending || _isMasked || _disposed) return;
            (_isPending, _isMasked) = (false, true);
            owner.Deliver(this);
        }
    }
}
