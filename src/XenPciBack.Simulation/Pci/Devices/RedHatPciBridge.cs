using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci.Devices;

/// <summary>QEMU's conventional PCI-to-PCI bridge: a header of type 1.</summary>
public static class RedHatPciBridge
{
    public static PciFunctionDescription At(HostBdf bdf, int irq = 20) =>
        new PciFunctionDescription(bdf, vendor: 0x1B36, device: 0x0001, classCode: 0x060400)
            .Bridge()
            .MemoryBar64(0, 4 << 10)
            .Interrupt(pin: 1, irq)
            .Msi(0x4C, maskable: true);
}
