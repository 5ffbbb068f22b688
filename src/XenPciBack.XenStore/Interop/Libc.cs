using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace XenPciBack.XenStore.Interop;

/// <summary>What a path is, as far as libxenstore asks.</summary>
internal enum FileKind
{
    Missing,
    Socket,
    CharacterDevice,
    Other,
}

/// <summary>
/// The C library calls that /dev/xen/xenbus needs and .NET does not offer: the kind of a file, and read and write that
/// keep the errno. Names are the native ones; each wrapper reads errno right after the call.
/// </summary>
internal static partial class Libc
{
    public const int EINTR = 4;

    private const int AtFdcwd = -100;
    private const uint StatxType = 1;
    private const int O_RDWR = 2, O_NOCTTY = 0x100, O_CLOEXEC = 0x80000;
    private const int EFD_CLOEXEC = 0x80000;
    private const short POLLIN = 1;

    public static FileKind KindOf(string path)
    {
        // struct statx has one layout on every architecture: 256 bytes, u16 stx_mode at byte 28 (linux/stat.h).
        Span<byte> status = stackalloc byte[256];
        if (statx(AtFdcwd, path, 0, StatxType, ref MemoryMarshal.GetReference(status)) != 0)
            return FileKind.Missing;
        return (BinaryPrimitives.ReadUInt16LittleEndian(status[28..]) & 0xf000) switch
        {
            0xc000 => FileKind.Socket,
            0x2000 => FileKind.CharacterDevice,
            _ => FileKind.Other,
        };
    }

    /// <summary>Opens for reading and writing. Blocking: the reader polls first, and a write has to finish anyway.</summary>
    /// <exception cref="IOException">The message holds the errno's name and text.</exception>
    public static SafeFileHandle OpenDevice(string path)
    {
        var fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw LastError("open");
    }

    public static SafeFileHandle CreateEventFd()
    {
        var fd = eventfd(0, EFD_CLOEXEC);
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw LastError("eventfd");
    }

    /// <summary>Blocks until <paramref name="device"/> can be read (true) or <paramref name="stop"/> is signalled (false).</summary>
    public static bool WaitReadable(SafeFileHandle device, SafeFileHandle stop)
    {
        Span<PollFd> fds =
        [
            new() { fd = (int)device.DangerousGetHandle(), events = POLLIN },
            new() { fd = (int)stop.DangerousGetHandle(), events = POLLIN },
        ];
        while (poll(ref fds[0], 2, -1) < 0)
        {
            if (Marshal.GetLastPInvokeError() != EINTR)
                throw LastError("poll");
        }
        return fds[1].revents == 0;
    }

    /// <summary>The number of bytes, or minus the errno.</summary>
    public static int Read(SafeFileHandle file, Span<byte> buffer) =>
        (int)read(file, ref MemoryMarshal.GetReference(buffer), (nuint)buffer.Length) is >= 0 and var count
            ? count : -Marshal.GetLastPInvokeError();

    /// <summary>The number of bytes, or minus the errno.</summary>
    public static int Write(SafeFileHandle file, ReadOnlySpan<byte> buffer) =>
        (int)write(file, ref MemoryMarshal.GetReference(buffer), (nuint)buffer.Length) is >= 0 and var count
            ? count : -Marshal.GetLastPInvokeError();

    /// <summary>"ENOENT" for 2; "errno 200" for what this table, x86 and arm Linux's numbers, does not hold.</summary>
    public static string ErrorName(int errno) => errno switch
    {
        1 => "EPERM", 2 => "ENOENT", 4 => "EINTR", 5 => "EIO", 6 => "ENXIO", 7 => "E2BIG", 9 => "EBADF", 11 => "EAGAIN",
        12 => "ENOMEM", 13 => "EACCES", 14 => "EFAULT", 16 => "EBUSY", 17 => "EEXIST", 19 => "ENODEV", 20 => "ENOTDIR",
        21 => "EISDIR", 22 => "EINVAL", 23 => "ENFILE", 24 => "EMFILE", 28 => "ENOSPC", 30 => "EROFS", 32 => "EPIPE",
        38 => "ENOSYS", 39 => "ENOTEMPTY", 106 => "EISCONN", _ => $"errno {errno}",
    };

    public static IOException Error(string call, int errno) =>
        new($"{call}: {ErrorName(errno)} ({Marshal.GetPInvokeErrorMessage(errno)})", errno);

    private static IOException LastError(string call) => Error(call, Marshal.GetLastPInvokeError());

    // struct pollfd, poll.h.
    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        public int fd;
        public short events;
        public short revents;
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int dirfd, string path, int flags, uint mask, ref byte status);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int eventfd(uint initial, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(ref PollFd fds, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeFileHandle file, ref byte buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeFileHandle file, ref byte buffer, nuint count);
}
