using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>One dom0 process's way to map what guests have granted. Disposing unmaps everything, as the end of the process would.</summary>
public sealed class SimulatedGrantTable(GuestGrants grants) : IGrantTable
{
    private readonly ConcurrentDictionary<GrantMapping, bool> _mappings = new();

    public IGrantMapping Map(DomainId domain, GrantReference reference)
    {
        if (grants.Map(domain, reference) is not { } page)
            throw new HostCallException("xengnttab_map_grant_ref", $"grant {reference} of domain {domain}", Errnos.EINVAL);
        var mapping = new GrantMapping(this, page);
        _mappings[mapping] = true;
        return mapping;
    }

    public void Dispose()
    {
        foreach (var mapping in _mappings.Keys) mapping.Dispose();
    }

    private void Unmap(GrantMapping mapping)
    {
        if (_mappings.TryRemove(mapping, out _)) grants.Unmap();
    }

    private sealed class GrantMapping(SimulatedGrantTable table, GuestPage page) : IGrantMapping
    {
        private volatile bool _disposed;

        public Span<byte> Page
        {
            get
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                return page.Bytes;
            }
        }

        public void Dispose()
        {
            _disposed = true;
            table.Unmap(this);
        }
    }
}
