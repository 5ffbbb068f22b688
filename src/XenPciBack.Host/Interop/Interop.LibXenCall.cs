using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace XenPciBack.Host;

internal static partial class Interop
{
    /// <summary>
    /// Hypercalls (xencall.h). Memory passed by pointer comes from <see cref="AllocateBuffer"/>: the hypervisor reads it by
    /// address without faulting it in, so nothing on the garbage-collected heap will do.
    /// </summary>
    internal static partial class LibXenCall
    {
        internal static Handle Open()
        {
            var handle = xencall_open(0, 0);
            var errno = Marshal.GetLastPInvokeError();
            return handle.IsInvalid ? throw new HostCallException(nameof(xencall_open), "/dev/xen/privcmd", errno) : handle;
        }

        /// <summary>A hypercall of the two-argument form (command, buffer).</summary>
        /// <param name="name">For the exception, for example <c>xen_version(XENVER_version)</c>.</param>
        /// <returns>The hypervisor's result, 0 or above.</returns>
        internal static int Call(Handle handle, string name, uint hypercall, ulong command, Buffer? buffer)
        {
            var result = xencall2(handle, hypercall, command, (ulong)(buffer?.DangerousGetHandle() ?? 0));
            var errno = Marshal.GetLastPInvokeError();
            GC.KeepAlive(buffer);
            return result >= 0 ? result : throw new HostCallException(name, "the hypervisor", errno);
        }

        /// <summary>As <see cref="Call"/>, for a caller to whom failure is an answer like another.</summary>
        /// <returns>0, or the positive errno.</returns>
        internal static int TryCall(Handle handle, uint hypercall, ulong command, Buffer buffer)
        {
            var result = xencall2(handle, hypercall, command, (ulong)buffer.DangerousGetHandle());
            var errno = Marshal.GetLastPInvokeError();
            GC.KeepAlive(buffer);
            return result >= 0 ? 0 : errno;
        }

        internal static Buffer AllocateBuffer(Handle handle, int size)
        {
            var address = xencall_alloc_buffer(handle, (nuint)size);
            var errno = Marshal.GetLastPInvokeError();
            return address == 0 ? throw new HostCallException(nameof(xencall_alloc_buffer), $"{size} bytes", errno) : new Buffer(handle, address, size);
        }

        internal sealed class Handle() : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
        {
            protected override bool ReleaseHandle() => xencall_close(handle) == 0;
        }

        /// <summary>Memory a hypercall can read and write. It keeps the library's handle open, which frees it.</summary>
        internal sealed class Buffer : SafeHandleZeroOrMinusOneIsInvalid
        {
            private readonly Handle _library;
            private readonly int _size;

            internal Buffer(Handle library, nint address, int size) : base(ownsHandle: true)
            {
                var held = false;
                library.DangerousAddRef(ref held);
                (_library, _size) = (library, size);
                SetHandle(address);
            }

            /// <summary>The bytes. Only while this object is alive and not disposed.</summary>
            internal unsafe Span<byte> Bytes => new((void*)handle, _size);

            protected override bool ReleaseHandle()
            {
                xencall_free_buffer(_library.DangerousGetHandle(), handle);
                _library.DangerousRelease();
                return true;
            }
        }

        [LibraryImport(Libraries.XenCall, SetLastError = true)]
        private static partial Handle xencall_open(nint logger, uint flags);

        [LibraryImport(Libraries.XenCall)]
        private static partial int xencall_close(nint handle);

        [LibraryImport(Libraries.XenCall, SetLastError = true)]
        private static partial int xencall2(Handle handle, uint hypercall, ulong argument1, ulong argument2);

        [LibraryImport(Libraries.XenCall, SetLastError = true)]
        private static partial nint xencall_alloc_buffer(Handle handle, nuint size);

        [LibraryImport(Libraries.XenCall)]
        private static partial void xencall_free_buffer(nint handle, nint address);
    }
}
