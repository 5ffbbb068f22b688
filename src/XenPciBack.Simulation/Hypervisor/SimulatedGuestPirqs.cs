using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>A daemon's way to the simulated hypervisor's PIRQs, with the rules of Xen's physdev_map_pirq.</summary>
public sealed class SimulatedGuestPirqs(DomainPirqs pirqs, SimulatedPciHost pci) : IGuestPirqs
{
    public IPirqMap Open(DomainId guest, HostBdf function)
    {
        foreach (var (other, recorded) in pirqs.Records)
            if (recorded == function && other != guest) pirqs.UnmapAll(other, recorded);
        return new Map(pirqs, pci, guest, function);
    }

    public IReadOnlyList<(DomainId Guest, HostBdf Function)> Forget(Func<DomainId, bool> isServed)
    {
        var gone = pirqs.Records.Where(record => !isServed(record.Domain)).ToList();
        foreach (var (guest, function) in gone) pirqs.UnmapAll(guest, function);
        return gone;
    }

    private sealed class Map(DomainPirqs pirqs, SimulatedPciHost pci, DomainId guest, HostBdf function) : IPirqMap
    {
        public ImmutableArray<Pirq> Mapped => pirqs.OnRecord(guest, function);

        public int MapMsi(out Pirq pirq) => pirqs.Map(guest, function, out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            pirq = default;
            var decodesMemory = (pci[function].Read(0x04, 2) & 0x2) != 0 || pci[function].IsVirtualFunction;
            return decodesMemory ? pirqs.Map(guest, function, out pirq) : Errnos.ENXIO;
        }

        // Where a message goes is not modelled, so there is nothing to write.
        public int Restore() => 0;

        public int UnmapAll()
        {
            pirqs.UnmapAll(guest, function);
            return 0;
        }
    }
}
