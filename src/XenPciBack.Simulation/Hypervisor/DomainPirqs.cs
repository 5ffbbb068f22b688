using System.Collections.Immutable;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// The hypervisor's table of message interrupts mapped into domains. As Xen does, it maps the same vector a second time without a
/// word, so what is mapped and forgotten stays.
/// </summary>
public sealed class DomainPirqs
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(DomainId Domain, Pirq Pirq), HostBdf> _mapped = [];

    /// <summary>The top of every domain's range, from which Xen hands them out downwards. Its option extra_guest_irqs raises it.</summary>
    public int Highest { get; set; } = 55;

    /// <summary>PIRQs mapped now, of all domains. 0 when a backend has let go of everything.</summary>
    public int Mapped
    {
        get { lock (_lock) return _mapped.Count; }
    }

    /// <summary>What is mapped into one domain, highest first.</summary>
    public ImmutableArray<Pirq> Of(DomainId domain)
    {
        lock (_lock) return [.. _mapped.Keys.Where(key => key.Domain == domain).Select(key => key.Pirq).OrderByDescending(pirq => pirq.Value)];
    }

    /// <summary>The domain ends, and its PIRQs with it.</summary>
    internal void EndDomain(DomainId domain)
    {
        lock (_lock)
            foreach (var key in _mapped.Keys.Where(key => key.Domain == domain).ToList()) _mapped.Remove(key);
    }

    internal int Map(DomainId domain, HostBdf function, out Pirq pirq)
    {
        lock (_lock)
        {
            pirq = default;
            var number = Highest;
            while (_mapped.ContainsKey((domain, new Pirq(number)))) number--;
            if (number <= 0) return Errnos.ENOSPC;
            pirq = new Pirq(number);
            _mapped[(domain, pirq)] = function;
            return 0;
        }
    }

    internal void Unmap(DomainId domain, Pirq pirq)
    {
        lock (_lock) _mapped.Remove((domain, pirq));
    }
}
