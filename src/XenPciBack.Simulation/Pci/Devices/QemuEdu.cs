using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci.Devices;

/// <summary>QEMU's educational device: one BAR, INTx and MSI, nothing else.</summary>
public static class QemuEdu
{
    public static PciFunctionDescription At(HostBdf bdf, int irq = 17) =>
        new PciFunctionDescription(bdf, vendor: 0x1234, device: 0x11E8, classCode: 0x00FF00, revision: 0x10)
            .Subsystem(0x1AF4, 0x1100)
            .MemoryBar(0, 1 << 20)
            .Interrupt(pin: 1, irq)
            .Msi(0x40);
}
