using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>Answers the backend's hypercalls.</summary>
/// <param name="crash">Ends a domain; false if there is none.</param>
/// <param name="isAlive">Whether there is such a domain.</param>
public sealed class SimulatedHypervisor(Func<DomainId, bool> crash, Func<DomainId, bool> isAlive) : IHypervisor
{
    public string Version => "4.20.0-simulated";

    public int Crash(DomainId domain) => crash(domain) ? 0 : Errnos.ESRCH;

    public bool IsAlive(DomainId domain) => isAlive(domain);

    public void Dispose() { }
}
