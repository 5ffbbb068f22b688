using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;

namespace XenPciBack.Host;

internal static partial class Interop
{
    /// <summary>Event channels (xenevtchn.h). Each call is one system call, so a handle may be used from several threads.</summary>
    internal static partial class LibXenEvtchn
    {
        internal static Handle Open()
        {
            var handle = xenevtchn_open(0, 0);
            var errno = Marshal.GetLastPInvokeError();
            return handle.IsInvalid ? throw new HostCallException(nameof(xenevtchn_open), "/dev/xen/evtchn", errno) : handle;
        }

        /// <summary>The descriptor to poll. Owned by the library.</summary>
        internal static int Descriptor(Handle handle) => Checked(nameof(xenevtchn_fd), "the handle", xenevtchn_fd(handle));

        /// <summary>Binds to a port the domain has allocated for us. The new local port is pending at once.</summary>
        internal static LocalPort BindInterdomain(Handle handle, DomainId domain, RemotePort remotePort)
        {
            var port = xenevtchn_bind_interdomain(handle, (uint)domain.Value, remotePort.Value);
            var errno = Marshal.GetLastPInvokeError();
            return port < 0
                ? throw new HostCallException(nameof(xenevtchn_bind_interdomain), $"port {remotePort} of domain {domain}", errno)
                : new LocalPort((uint)port);
        }

        /// <summary>
        /// A channel of which this domain has both ends: an event sent from the first port is read from the second.
        /// </summary>
        internal static (LocalPort From, LocalPort To) BindToThisDomain(Handle handle)
        {
            const uint self = 0x7FF0; // DOMID_SELF, xen.h
            var from = xenevtchn_bind_unbound_port(handle, self);
            Checked(nameof(xenevtchn_bind_unbound_port), "this domain", from);
            var to = xenevtchn_bind_interdomain(handle, self, (uint)from);
            Checked(nameof(xenevtchn_bind_interdomain), $"port {from} of this domain", to);
            return (new LocalPort((uint)from), new LocalPort((uint)to));
        }

        /// <summary>
        /// Reads as many pending ports as fit, 4 bytes each, and masks them. Blocks if there is none. The library reads
        /// one at a time.
        /// </summary>
        /// <returns>Bytes read, or the negated errno: -EFBIG once the ring has overflowed.</returns>
        internal static int Read(Handle handle, int descriptor, Span<byte> ports)
        {
            var isHeld = false;
            try
            {
                // Nobody closes the descriptor while it is being read.
                handle.DangerousAddRef(ref isHeld);
                int read;
                do read = Libc.Read(descriptor, ports);
                while (read == -Errnos.EINTR);
                return read;
            }
            finally
            {
                if (isHeld) handle.DangerousRelease();
            }
        }

        /// <summary>
        /// Empties the ring after an overflow, which the library has no call for (uapi/xen/evtchn.h,
        /// IOCTL_EVTCHN_RESET).
        /// </summary>
        internal static void Reset(Handle handle)
        {
            const nuint reset = ('E' << 8) | 5; // _IOC(_IOC_NONE, 'E', 5, 0)
            Checked("IOCTL_EVTCHN_RESET", "/dev/xen/evtchn", Libc.IoControl(Descriptor(handle), reset));
        }

        internal static void Unmask(Handle handle, LocalPort port) => CheckedPort(nameof(xenevtchn_unmask), port, xenevtchn_unmask(handle, port.Value));

        internal static void Notify(Handle handle, LocalPort port) => CheckedPort(nameof(xenevtchn_notify), port, xenevtchn_notify(handle, port.Value));

        internal static void Unbind(Handle handle, LocalPort port) => CheckedPort(nameof(xenevtchn_unbind), port, xenevtchn_unbind(handle, port.Value));

        internal sealed class Handle() : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
        {
            protected override bool ReleaseHandle() => xenevtchn_close(handle) == 0;
        }

        private static int Checked(string call, string subject, int result) =>
            result >= 0 ? result : throw new HostCallException(call, subject, Marshal.GetLastPInvokeError());

        private static void CheckedPort(string call, LocalPort port, int result)
        {
            if (result < 0) throw new HostCallException(call, $"local port {port}", Marshal.GetLastPInvokeError());
        }

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial Handle xenevtchn_open(nint logger, uint flags);

        [LibraryImport(Libraries.XenEvtchn)]
        private static partial int xenevtchn_close(nint handle);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_fd(Handle handle);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_bind_interdomain(Handle handle, uint domid, uint remotePort);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_bind_unbound_port(Handle handle, uint domid);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_unmask(Handle handle, uint port);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_notify(Handle handle, uint port);

        [LibraryImport(Libraries.XenEvtchn, SetLastError = true)]
        private static partial int xenevtchn_unbind(Handle handle, uint port);
    }
}
