using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>Event channels through libxenevtchn and /dev/xen/evtchn.</summary>
public sealed class XenEventChannels : IEventChannels
{
    // Some nine times the share of any other thread.
    private const int Preference = 10;

    private readonly ConcurrentDictionary<EventHandle, bool> _handles = new();
    private volatile bool _disposed;

    /// <summary>Opens the device once, to find out whether it works.</summary>
    /// <exception cref="HostCallException">/dev/xen/evtchn cannot be opened.</exception>
    /// <exception cref="DllNotFoundException">libxenevtchn.so.1 is not installed.</exception>
    public static XenEventChannels Open()
    {
        Interop.LibXenEvtchn.Open().Dispose();
        return new XenEventChannels();
    }

    IEventHandle IEventChannels.Open()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var handle = new EventHandle(this);
        _handles[handle] = true;
        if (_disposed) handle.Dispose();
        return handle;
    }

    public void PreferThisThread() => Interop.Libc.PreferThisThread(Preference);

    /// <summary>
    /// Closes every handle, also that of a thread that is inside a device access: the kernel would keep its ports
    /// bound.
    /// </summary>
    public void Dispose()
    {
        _disposed = true;
        foreach (var handle in _handles.Keys) handle.Dispose();
    }

    private sealed class EventHandle : IEventHandle
    {
        // struct evtchn's ring gives 4 bytes a port.
        private const int PortSize = sizeof(uint);

        private readonly XenEventChannels _owner;
        private readonly Interop.LibXenEvtchn.Handle _library;
        private readonly int _descriptor;

        // Two ends of one channel within this domain: an event sent from the first is read from the second, as a
        // guest's is.
        private readonly LocalPort _wakeFrom, _wakeTo;
        private bool _isWakeMasked;
        private int _disposed;

        public EventHandle(XenEventChannels owner)
        {
            _owner = owner;
            _library = Interop.LibXenEvtchn.Open();
            try
            {
                _descriptor = Interop.LibXenEvtchn.Descriptor(_library);
                (_wakeFrom, _wakeTo) = Interop.LibXenEvtchn.BindToThisDomain(_library);
            }
            catch
            {
                _library.Dispose();
                throw;
            }
        }

        public LocalPort Bind(DomainId domain, RemotePort remotePort) =>
            Interop.LibXenEvtchn.BindInterdomain(_library, domain, remotePort);

        public void Unbind(LocalPort port) => Interop.LibXenEvtchn.Unbind(_library, port);

        public void Notify(LocalPort port) => Interop.LibXenEvtchn.Notify(_library, port);

        public void Unmask(LocalPort port) => Interop.LibXenEvtchn.Unmask(_library, port);

        public int Read(Span<LocalPort> ports, bool wait)
        {
            UnmaskWake();
            if (!wait && !HasEvent()) return 0;
            var read = Interop.LibXenEvtchn.Read(_library, _descriptor, MemoryMarshal.AsBytes(ports));
            if (read == -Errnos.EFBIG) return -1;
            if (read < 0) throw new HostCallException("read", "/dev/xen/evtchn", -read);
            return WithoutWake(ports[..(read / PortSize)]);
        }

        public void Reset()
        {
            Interop.LibXenEvtchn.Reset(_library);
            _isWakeMasked = true;
        }

        public void Wake()
        {
            try
            {
                Interop.LibXenEvtchn.Notify(_library, _wakeFrom);
            }
            catch (ObjectDisposedException)
            {
                // Whoever waited has returned.
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
            _owner._handles.TryRemove(this, out _);
            // A thread that waits holds the handle open until its read returns.
            Wake();
            _library.Dispose();
        }

        private bool HasEvent()
        {
            Span<bool> readable = stackalloc bool[1];
            Interop.Libc.WaitReadable([_descriptor], readable, milliseconds: 0);
            return readable[0];
        }

        private void UnmaskWake()
        {
            if (!_isWakeMasked) return;
            _isWakeMasked = false;
            Interop.LibXenEvtchn.Unmask(_library, _wakeTo);
        }

        private int WithoutWake(Span<LocalPort> ports)
        {
            var kept = 0;
            foreach (var port in ports)
                if (port == _wakeTo) _isWakeMasked = true;
                else ports[kept++] = port;
            return kept;
        }
    }
}
