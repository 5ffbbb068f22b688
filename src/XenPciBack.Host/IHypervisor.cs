using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>Calls to the hypervisor whose ABI is stable (event_channel_op, physdev_op, sched_op, xen_version).</summary>
public interface IHypervisor : IDisposable
{
    /// <summary>The hypervisor's version, for example <c>4.17.7</c> (xen_version: XENVER_version and XENVER_extraversion).</summary>
    string Version { get; }

    /// <summary>
    /// Ends a domain as if its kernel had crashed (SCHEDOP_remote_shutdown, SHUTDOWN_crash): the toolstack does what its
    /// configuration says for <c>on_crash</c>.
    /// </summary>
    /// <returns>0, or a positive errno: ESRCH for a domain that is gone, EPERM for this one or one out of our reach.</returns>
    int Crash(DomainId domain);

    /// <summary>
    /// Whether a domain is there and nobody has begun to take it down, whatever xenstore says (EVTCHNOP_status of its ports: a
    /// domain that ends has none that is not closed).
    /// </summary>
    bool IsAlive(DomainId domain);
}
