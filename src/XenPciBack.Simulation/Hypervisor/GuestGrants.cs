using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// The grant tables of all guests, as the hypervisor has them. Ending a grant stops new mappings and leaves existing ones
/// alone. Thread-safe.
/// </summary>
public sealed class GuestGrants
{
    // Linux reserves the first references of a domain for the console, xenstore and the table itself.
    private const uint FirstReference = 8;

    private readonly Lock _lock = new();
    private readonly Dictionary<(DomainId Guest, GrantReference Reference), GuestPage> _grants = [];
    private readonly Dictionary<DomainId, uint> _next = [];
    private int _mapped;

    /// <summary>Mappings dom0 has not undone. 0 when every backend has let go.</summary>
    public int Mapped => Volatile.Read(ref _mapped);

    /// <summary>The guest lets dom0 map a page.</summary>
    public GrantReference Grant(DomainId guest, GuestPage page)
    {
        lock (_lock)
        {
            var reference = new GrantReference(_next.GetValueOrDefault(guest, FirstReference));
            _next[guest] = reference.Value + 1;
            _grants[(guest, reference)] = page;
            return reference;
        }
    }

    /// <summary>The guest takes a grant back; nothing happens if it is gone already.</summary>
    public void Revoke(DomainId guest, GrantReference reference)
    {
        lock (_lock)
            _grants.Remove((guest, reference));
    }

    /// <summary>The domain is destroyed, and its grant table with it.</summary>
    public void RevokeAll(DomainId guest)
    {
        lock (_lock)
            foreach (var grant in _grants.Keys.Where(g => g.Guest == guest).ToArray())
                _grants.Remove(grant);
    }

    /// <summary>null if nothing is granted under that number.</summary>
    internal GuestPage? Map(DomainId guest, GrantReference reference)
    {
        lock (_lock)
        {
            if (!_grants.TryGetValue((guest, reference), out var page)) return null;
            Interlocked.Increment(ref _mapped);
            return page;
        }
    }

    internal void Unmap() => Interlocked.Decrement(ref _mapped);
}
