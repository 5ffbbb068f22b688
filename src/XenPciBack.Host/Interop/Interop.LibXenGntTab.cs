using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;

namespace XenPciBack.Host;

internal static partial class Interop
{
    /// <summary>Grant mapping (xengnttab.h).</summary>
    internal static partial class LibXenGntTab
    {
        internal static Handle Open()
        {
            var handle = xengnttab_open(0, 0);
            var errno = Marshal.GetLastPInvokeError();
            return handle.IsInvalid ? throw new HostCallException(nameof(xengnttab_open), "/dev/xen/gntdev", errno) : handle;
        }

        /// <summary>Maps one page read-write.</summary>
        internal static Mapping Map(Handle handle, DomainId domain, GrantReference reference)
        {
            var address = xengnttab_map_grant_ref(handle, (uint)domain.Value, reference.Value, PROT_READ | PROT_WRITE);
            var errno = Marshal.GetLastPInvokeError();
            return address == 0
                ? throw new HostCallException(nameof(xengnttab_map_grant_ref), $"grant {reference} of domain {domain}", errno)
                : new Mapping(handle, address);
        }

        internal sealed class Handle() : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
        {
            protected override bool ReleaseHandle() => xengnttab_close(handle) == 0;
        }

        /// <summary>One mapped page. It keeps the library's handle open, which the library needs to unmap it.</summary>
        internal sealed class Mapping : SafeHandleZeroOrMinusOneIsInvalid
        {
            private readonly Handle _library;

            internal Mapping(Handle library, nint address) : base(ownsHandle: true)
            {
                var held = false;
                library.DangerousAddRef(ref held);
                _library = library;
                SetHandle(address);
            }

            protected override bool ReleaseHandle()
            {
                var unmapped = xengnttab_unmap(_library.DangerousGetHandle(), handle, 1) == 0;
                _library.DangerousRelease();
                return unmapped;
            }
        }

        private const int PROT_READ = 1, PROT_WRITE = 2;

        [LibraryImport(Libraries.XenGntTab, SetLastError = true)]
        private static partial Handle xengnttab_open(nint logger, uint flags);

        [LibraryImport(Libraries.XenGntTab)]
        private static partial int xengnttab_close(nint handle);

        [LibraryImport(Libraries.XenGntTab, SetLastError = true)]
        private static partial nint xengnttab_map_grant_ref(Handle handle, uint domid, uint reference, int protection);

        [LibraryImport(Libraries.XenGntTab)]
        private static partial int xengnttab_unmap(nint handle, nint address, uint pages);
    }
}
