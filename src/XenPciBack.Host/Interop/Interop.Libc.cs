using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace XenPciBack.Host;

internal static partial class Interop
{
    internal static unsafe partial class Libc
    {
        /// <summary>The process's effective user id; 0 is root.</summary>
        [LibraryImport(Libraries.Libc)]
        internal static partial uint geteuid();

        /// <summary>
        /// Fills <paramref name="bytes"/> from <paramref name="offset"/> on. Unlike <see cref="RandomAccess"/> a failure
        /// is a return value: a guest decides how often it happens, so it must not cost an exception.
        /// </summary>
        /// <returns>Bytes read, or the negated errno.</returns>
        internal static int ReadAt(SafeFileHandle file, Span<byte> bytes, long offset)
        {
            fixed (byte* buffer = bytes)
                return Result(pread(file, buffer, (nuint)bytes.Length, offset));
        }

        /// <summary>Writes <paramref name="bytes"/> from <paramref name="offset"/> on.</summary>
        /// <returns>Bytes written, or the negated errno.</returns>
        internal static int WriteAt(SafeFileHandle file, ReadOnlySpan<byte> bytes, long offset)
        {
            fixed (byte* buffer = bytes)
                return Result(pwrite(file, buffer, (nuint)bytes.Length, offset));
        }

        /// <summary>An eventfd: readable from the first <see cref="Wake"/> on.</summary>
        internal static SafeFileHandle OpenWakeup()
        {
            var fd = eventfd(0, EFD_CLOEXEC);
            return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw new HostCallException(nameof(eventfd), "the reader's wake-up", Marshal.GetLastPInvokeError());
        }

        internal static void Wake(SafeFileHandle wakeup)
        {
            ulong one = 1;
            _ = write(wakeup, &one, sizeof(ulong));
        }

        /// <summary>Blocks until <paramref name="file"/> is readable.</summary>
        /// <returns>false if <paramref name="wakeup"/> became readable instead, or too.</returns>
        internal static bool WaitReadable(int file, SafeFileHandle wakeup)
        {
            var entries = stackalloc PollFd[]
            {
                new PollFd { fd = file, events = POLLIN },
                new PollFd { fd = (int)wakeup.DangerousGetHandle(), events = POLLIN },
            };
            while (poll(entries, 2, -1) < 0)
            {
                var errno = Marshal.GetLastPInvokeError();
                if (errno != EINTR) throw new HostCallException(nameof(poll), "event channels", errno);
            }
            return entries[1].revents == 0;
        }

        private const int EFD_CLOEXEC = 0x80000;
        private const short POLLIN = 1;
        private const int EINTR = 4;

        /// <summary><c>struct pollfd</c>, 8 bytes.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct PollFd
        {
            internal int fd;
            internal short events;
            internal short revents;
        }

        private static int Result(nint returned) => returned >= 0 ? (int)returned : -Marshal.GetLastPInvokeError();

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint pread(SafeFileHandle fd, byte* buffer, nuint count, long offset);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint pwrite(SafeFileHandle fd, byte* buffer, nuint count, long offset);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint write(SafeFileHandle fd, void* buffer, nuint count);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int eventfd(uint initial, int flags);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int poll(PollFd* fds, nuint count, int milliseconds);
    }
}
