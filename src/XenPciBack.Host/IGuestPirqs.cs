using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Host;

/// <summary>PIRQs in the domains of guests, and the record of them that outlives this process (and ends with the host's uptime, as domains do).</summary>
public interface IGuestPirqs
{
    /// <summary>
    /// The PIRQs of one function in one guest. A function has one guest: what is on record of it for another domain is unmapped.
    /// </summary>
    /// <exception cref="IOException">The record cannot be read.</exception>
    IPirqMap Open(DomainId guest, HostBdf function);

    /// <summary>Unmaps what is on record for a guest that is not served any more.</summary>
    /// <param name="isServed">Asked for each domain on record.</param>
    /// <returns>The functions whose PIRQs were unmapped.</returns>
    IReadOnlyList<(DomainId Guest, HostBdf Function)> Forget(Func<DomainId, bool> isServed);
}
