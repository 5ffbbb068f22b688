namespace XenPciBack.Host;

/// <summary>Calls to the hypervisor whose ABI is stable (physdev_op, sched_op, xen_version).</summary>
public interface IHypervisor : IDisposable
{
    /// <summary>The hypervisor's version, for example <c>4.17.7</c> (xen_version: XENVER_version and XENVER_extraversion).</summary>
    string Version { get; }
}
