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

        /// <summary>How many file descriptors this process may have open, RLIMIT_NOFILE of getrlimit(2).</summary>
        internal static long FileDescriptorLimit()
        {
            const int openFiles = 7;
            Span<ulong> softAndHard = stackalloc ulong[2];
            fixed (ulong* limits = softAndHard)
                return getrlimit(openFiles, limits) == 0 ? (long)Math.Min(softAndHard[0], long.MaxValue) : long.MaxValue;
        }

        /// <summary>Lets the calling thread go before the others of its process, or after them. Without the right to do so it stays as it is.</summary>
        /// <param name="steps">By how many nice levels, each some 1.25 times the share of a CPU; below 0: after them.</param>
        internal static void PreferThisThread(int steps)
        {
            // setpriority(2): in Linux a process is a thread here, and 0 the calling one.
            const int thread = 0, self = 0, first = -20, last = 19;
            _ = setpriority(thread, self, Math.Clamp(getpriority(thread, self) - steps, first, last));
        }

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

        /// <summary>Blocks until one of the files is readable, at its end or broken, or the time is over; a negative one is left out.</summary>
        /// <param name="readable">Set for each file.</param>
        /// <param name="milliseconds">-1: for ever.</param>
        internal static void WaitReadable(ReadOnlySpan<int> files, Span<bool> readable, int milliseconds)
        {
            var entries = stackalloc PollFd[files.Length];
            for (var i = 0; i < files.Length; i++) entries[i] = new PollFd { fd = files[i], events = POLLIN };
            while (poll(entries, (nuint)files.Length, milliseconds) < 0)
            {
                var errno = Marshal.GetLastPInvokeError();
                if (errno != EINTR) throw new HostCallException(nameof(poll), "files to be read", errno);
            }
            for (var i = 0; i < files.Length; i++) readable[i] = entries[i].revents != 0;
        }

        /// <summary>Opens a file for reading without waiting: an empty pipe answers EAGAIN.</summary>
        /// <exception cref="HostCallException">It cannot be opened.</exception>
        internal static SafeFileHandle OpenNonBlocking(string path)
        {
            var fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
            return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw new HostCallException(nameof(open), path, Marshal.GetLastPInvokeError());
        }

        /// <summary>Opens or makes a file that only its owner can open, for reading and writing as it is. .NET would lock it (flock), or refuse because another process has.</summary>
        /// <exception cref="HostCallException">It cannot be opened.</exception>
        internal static SafeFileHandle OpenUnlocked(string path)
        {
            var fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, OwnerOnly);
            return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw new HostCallException(nameof(open), path, Marshal.GetLastPInvokeError());
        }

        /// <summary>A socket that gets the kernel objects' events (netlink, group 1: from the kernel itself), without waiting.</summary>
        /// <exception cref="HostCallException">It cannot be had.</exception>
        internal static SafeFileHandle OpenKernelEvents()
        {
            var fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
            if (fd < 0) throw new HostCallException(nameof(socket), "kernel object events", Marshal.GetLastPInvokeError());
            var handle = new SafeFileHandle(fd, ownsHandle: true);
            var address = new NetlinkAddress { family = AF_NETLINK, groups = KernelGroup };
            if (bind(handle, &address, (uint)sizeof(NetlinkAddress)) == 0) return handle;
            var errno = Marshal.GetLastPInvokeError();
            handle.Dispose();
            throw new HostCallException(nameof(bind), "kernel object events", errno);
        }

        /// <summary>Reads what there is.</summary>
        /// <returns>Bytes read, 0 at the end, or the negated errno: -EAGAIN if there is nothing now.</returns>
        internal static int Read(SafeFileHandle file, Span<byte> bytes)
        {
            fixed (byte* buffer = bytes)
                return Result(read(file, buffer, (nuint)bytes.Length));
        }

        /// <summary>The same for a descriptor that somebody else owns, and keeps open meanwhile.</summary>
        internal static int Read(int descriptor, Span<byte> bytes)
        {
            fixed (byte* buffer = bytes)
                return Result(read(descriptor, buffer, (nuint)bytes.Length));
        }

        /// <summary>Asks a device for something that needs no argument (ioctl(2)).</summary>
        /// <returns>-1 if it refuses.</returns>
        internal static int IoControl(int device, nuint request) => ioctl(device, request, 0);

        /// <summary>Locks a file for this process alone, and waits for that.</summary>
        /// <exception cref="HostCallException">It cannot be locked.</exception>
        internal static void Lock(SafeFileHandle file)
        {
            while (flock(file, LOCK_EX) < 0)
            {
                var errno = Marshal.GetLastPInvokeError();
                if (errno != EINTR) throw new HostCallException(nameof(flock), "a lock of the host", errno);
            }
        }

        /// <returns>false if another process has it locked.</returns>
        internal static bool TryLock(SafeFileHandle file) => flock(file, LOCK_EX | LOCK_NB) == 0;

        private const int LOCK_EX = 2, LOCK_NB = 4;
        private const int EFD_CLOEXEC = 0x80000;
        private const short POLLIN = 1;
        private const int EINTR = 4;
        private const int O_RDONLY = 0, O_RDWR = 2, O_CREAT = 0x40, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000;
        private const uint OwnerOnly = 0x180; // 0600
        private const int AF_NETLINK = 16, SOCK_DGRAM = 2, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000, NETLINK_KOBJECT_UEVENT = 15;
        private const uint KernelGroup = 1;

        /// <summary><c>struct sockaddr_nl</c>, 12 bytes.</summary>
        [StructLayout(LayoutKind.Sequential)]
        private struct NetlinkAddress
        {
            internal ushort family;
            internal ushort padding;
            internal uint port;
            internal uint groups;
        }

        /// <summary><c>struct pollfd</c>, 8 bytes.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct PollFd
        {
            internal int fd;
            internal short events;
            internal short revents;
        }

        private static int Result(nint returned) => returned >= 0 ? (int)returned : -Marshal.GetLastPInvokeError();

        [LibraryImport(Libraries.Libc)]
        private static partial int getrlimit(int resource, ulong* softAndHard);

        [LibraryImport(Libraries.Libc)]
        private static partial int getpriority(int which, int who);

        [LibraryImport(Libraries.Libc)]
        private static partial int setpriority(int which, int who, int niceness);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint pread(SafeFileHandle fd, byte* buffer, nuint count, long offset);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint pwrite(SafeFileHandle fd, byte* buffer, nuint count, long offset);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint write(SafeFileHandle fd, void* buffer, nuint count);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint read(SafeFileHandle fd, void* buffer, nuint count);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial nint read(int fd, void* buffer, nuint count);

        [LibraryImport(Libraries.Libc, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
        private static partial int open(string path, int flags, uint mode = 0);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int socket(int domain, int type, int protocol);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int bind(SafeFileHandle fd, void* address, uint length);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int flock(SafeFileHandle fd, int operation);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int ioctl(int fd, nuint request, nint argument);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int eventfd(uint initial, int flags);

        [LibraryImport(Libraries.Libc, SetLastError = true)]
        private static partial int poll(PollFd* fds, nuint count, int milliseconds);
    }
}
