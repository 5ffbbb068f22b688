using XenPciBack.Host;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>Answers the backend's hypercalls.</summary>
public sealed class SimulatedHypervisor : IHypervisor
{
    public string Version => "4.20.0-simulated";

    public void Dispose() { }
}
