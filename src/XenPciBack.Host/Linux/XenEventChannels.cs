using System.Collections.Concurrent;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>
/// Event channels through libxenevtchn and /dev/xen/evtchn. One thread reads the pending ports of all guests and runs their
/// callbacks; the kernel keeps each of those ports masked until it is written back.
/// </summary>
public sealed class XenEventChannels : IEventChannels
{
    // Some nine times the share of any other thread.
    private const int Preference = 10;

    private readonly Interop.LibXenEvtchn.Handle _library;
    private readonly SafeFileHandle _wakeup;
    private readonly Thread _reader;
    private readonly ConcurrentDictionary<LocalPort, EventChannel> _channels = new();

    /// <summary>Held while a port changes hands; see <see cref="Find"/>.</summary>
    private readonly Lock _binding = new();

    /// <summary>Who waits for the reader to come round.</summary>
    private readonly ConcurrentQueue<TaskCompletionSource> _rounds = new();

    private volatile bool _disposed;

    private XenEventChannels(Interop.LibXenEvtchn.Handle library)
    {
        _library = library;
        _wakeup = Interop.Libc.OpenWakeup();
        _reader = new Thread(ReadEvents) { Name = "xen-evtchn", IsBackground = true };
        _reader.Start();
    }

    /// <exception cref="HostCallException">/dev/xen/evtchn cannot be opened.</exception>
    /// <exception cref="DllNotFoundException">libxenevtchn.so.1 is not installed.</exception>
    public static XenEventChannels Open()
    {
        var library = Interop.LibXenEvtchn.Open();
        try
        {
            return new XenEventChannels(library);
        }
        catch
        {
            library.Dispose();
            throw;
        }
    }

    /// <summary>A callback threw. Raised on the reader thread, which goes on; the port stays masked.</summary>
    public event Action<Exception>? CallbackFailed;

    public IEventChannel Bind(DomainId domain, RemotePort remotePort, Action onEvent)
    {
        lock (_binding)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var port = Interop.LibXenEvtchn.BindInterdomain(_library, domain, remotePort);
            return _channels[port] = new EventChannel(this, port, onEvent);
        }
    }

    public Task ComeRoundAsync()
    {
        var round = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _rounds.Enqueue(round);
        Interop.Libc.Wake(_wakeup);
        return round.Task;
    }

    /// <summary>Stops the reader and closes every port still bound. Waits for a callback in progress unless called from one.</summary>
    public void Dispose()
    {
        lock (_binding)
        {
            if (_disposed) return;
            _disposed = true;
        }
        Interop.Libc.Wake(_wakeup);
        if (Thread.CurrentThread != _reader) _reader.Join();
        _library.Dispose();
        _wakeup.Dispose();
    }

    /// <remarks>
    /// A failing read leaves no event channel working, and nothing in this process can mend that. The exception ends the
    /// process on purpose: its successor adopts the guests, whose requests wait in their pages.
    /// </remarks>
    private void ReadEvents()
    {
        // Guests wait for it, and for nothing else of this process.
        Interop.Libc.PreferThisThread(Preference);
        var descriptor = Interop.LibXenEvtchn.Descriptor(_library);
        while (true)
        {
            if (!Interop.Libc.WaitReadable(descriptor, _wakeup))
            {
                if (_disposed) return;
                Interop.Libc.Sleep(_wakeup);
                while (_rounds.TryDequeue(out var round)) round.SetResult();
                continue;
            }
            // Without a channel the event belongs to a port just unbound: dropped, and left masked because it is no longer ours.
            var channel = Find(Interop.LibXenEvtchn.Pending(_library));
            try
            {
                channel?.OnEvent();
            }
#pragma warning disable CA1031 // One guest's faulty callback must not stop the events of all the others.
            catch (Exception fault)
#pragma warning restore CA1031
            {
                CallbackFailed?.Invoke(fault);
            }
        }
    }

    /// <summary>
    /// The channel of a port. A port is pending from the moment it is bound, and may be read before Bind has learned its
    /// number: an unknown port is therefore looked up again after any Bind in progress. Known ports take no lock.
    /// </summary>
    private EventChannel? Find(LocalPort port)
    {
        if (_channels.TryGetValue(port, out var channel)) return channel;
        lock (_binding)
            return _channels.GetValueOrDefault(port);
    }

    private void Unbind(LocalPort port)
    {
        lock (_binding)
        {
            // Forget the port before the kernel can give its number to another binding.
            if (!_channels.TryRemove(port, out _) || _disposed) return;
            Interop.LibXenEvtchn.Unbind(_library, port);
        }
    }

    private sealed class EventChannel(XenEventChannels owner, LocalPort port, Action onEvent) : IEventChannel
    {
        private int _disposed;

        public LocalPort Port => port;

        public void OnEvent()
        {
            if (Volatile.Read(ref _disposed) == 0) onEvent();
        }

        public void Notify()
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            Interop.LibXenEvtchn.Notify(owner._library, port);
        }

        public void Unmask()
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            Interop.LibXenEvtchn.Unmask(owner._library, port);
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0) owner.Unbind(port);
        }
    }
}
