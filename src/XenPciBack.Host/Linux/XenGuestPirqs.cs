using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Host.Linux;

/// <summary>PIRQs mapped by hypercall.</summary>
internal sealed class XenGuestPirqs(XenHypervisor hypervisor) : IGuestPirqs
{
    public IPirqs Of(DomainId guest, HostBdf function) => new Pirqs(hypervisor, guest, function);

    /// <summary>What to make of unmap_pirq's errno.</summary>
    /// <returns>0 if there is nothing left to unmap: the domain is gone, or its PIRQ is.</returns>
    internal static int OutcomeOfUnmapping(int errno) => errno is Errnos.ESRCH or Errnos.EINVAL ? 0 : errno;

    private sealed class Pirqs(XenHypervisor hypervisor, DomainId guest, HostBdf function) : IPirqs
    {
        public int MapMsi(out Pirq pirq) => hypervisor.MapPirq(guest, function, 0, 0, out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq) => hypervisor.MapPirq(guest, function, entry, tableBar, out pirq);

        public int Restore() => hypervisor.RestoreMessages(function);

        public int Unmap(Pirq pirq) => OutcomeOfUnmapping(hypervisor.UnmapPirq(guest, pirq));
    }
}
