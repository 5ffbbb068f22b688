using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>Grant mapping through libxengnttab and /dev/xen/gntdev.</summary>
public sealed class XenGrantTable : IGrantTable
{
    private const int PageSize = 4096;

    private readonly Interop.LibXenGntTab.Handle _library;

    private XenGrantTable(Interop.LibXenGntTab.Handle library) => _library = library;

    /// <exception cref="HostCallException">/dev/xen/gntdev cannot be opened.</exception>
    /// <exception cref="DllNotFoundException">libxengnttab.so.1 is not installed.</exception>
    public static XenGrantTable Open() => new(Interop.LibXenGntTab.Open());

    public IGrantMapping Map(DomainId domain, GrantReference reference) =>
        reference.Value == 0
            // The hypervisor would refuse it too, but 0 is what a frontend that forgot to grant publishes: no need to ask.
            ? throw new HostCallException("xengnttab_map_grant_ref", $"grant 0 of domain {domain}, which is never valid", Errnos.EINVAL)
            : new GrantMapping(Interop.LibXenGntTab.Map(_library, domain, reference));

    /// <summary>Pages still mapped stay so until their own disposal.</summary>
    public void Dispose() => _library.Dispose();

    private sealed class GrantMapping(Interop.LibXenGntTab.Mapping mapping) : IGrantMapping
    {
        public unsafe Span<byte> Page
        {
            get
            {
                ObjectDisposedException.ThrowIf(mapping.IsClosed, this);
                // The library maps exactly one page here, and it stays mapped until Dispose.
                return new Span<byte>((void*)mapping.DangerousGetHandle(), PageSize);
            }
        }

        public void Dispose() => mapping.Dispose();
    }
}
