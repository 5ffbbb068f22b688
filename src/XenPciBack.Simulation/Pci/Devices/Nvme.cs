using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci.Devices;

/// <summary>QEMU's NVMe controller: a 64-bit BAR with 65 MSI-X entries in it, and a function-level reset.</summary>
public static class Nvme
{
    public static PciFunctionDescription At(HostBdf bdf, int irq = 21) =>
        new PciFunctionDescription(bdf, vendor: 0x1B36, device: 0x0010, classCode: 0x010802, revision: 2, configSize: PciFunctionDescription.Extended)
            .Subsystem(0x1AF4, 0x1100)
            .MemoryBar64(0, 16 << 10, prefetchable: true)
            .Interrupt(pin: 1, irq)
            .Msix(0x40, entries: 65, bar: 0, tableOffset: 0x2000, pendingOffset: 0x3000)
            .Express(0x80, functionLevelReset: true)
            .PowerManagement(0x60, pmeFrom: 0);
}
