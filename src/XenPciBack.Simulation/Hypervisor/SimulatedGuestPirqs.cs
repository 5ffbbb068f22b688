using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>A daemon's way to the simulated hypervisor's PIRQs, with the rules of Xen's physdev_map_pirq.</summary>
public sealed class SimulatedGuestPirqs(DomainPirqs pirqs, SimulatedPciHost pci) : IGuestPirqs
{
    public IPirqs Of(DomainId guest, HostBdf function) => new Pirqs(pirqs, pci, guest, function);

    private sealed class Pirqs(DomainPirqs pirqs, SimulatedPciHost pci, DomainId guest, HostBdf function) : IPirqs
    {
        public int MapMsi(out Pirq pirq) => pirqs.Map(guest, function, out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            pirq = default;
            var decodesMemory = (pci[function].Read(0x04, 2) & 0x2) != 0 || pci[function].IsVirtualFunction;
            return decodesMemory ? pirqs.Map(guest, function, out pirq) : Errnos.ENXIO;
        }

        // Where a message goes is not modelled, so there is nothing to write.
        public int Restore() => 0;

        public int Unmap(Pirq pirq)
        {
            pirqs.Unmap(guest, pirq);
            return 0;
        }
    }
}
