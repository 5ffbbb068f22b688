using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci.Devices;

/// <summary>Two functions of Intel's ICH9 that share a slot: the SATA controller and the SMBus controller. Conventional PCI.</summary>
public static class Ich9
{
    /// <summary>Serial ATA controller in AHCI mode, function 2 of its slot on a real board.</summary>
    public static PciFunctionDescription Sata(HostBdf bdf, int irq = 19) =>
        new PciFunctionDescription(bdf, vendor: 0x8086, device: 0x2922, classCode: 0x010601, revision: 2)
            .MultiFunction()
            .Subsystem(0x1AF4, 0x1100)
            .IoBar(4, 32)
            .MemoryBar(5, 4 << 10)
            .Interrupt(pin: 1, irq)
            .Msi(0x80)
            .PowerManagement(0x70, pmeFrom: 0x4000);

    /// <summary>SMBus controller, function 3 of its slot on a real board; no capability at all.</summary>
    public static PciFunctionDescription Smbus(HostBdf bdf, int irq = 18) =>
        new PciFunctionDescription(bdf, vendor: 0x8086, device: 0x2930, classCode: 0x0C0500, revision: 2)
            .MultiFunction()
            .Subsystem(0x1AF4, 0x1100)
            .IoBar(4, 64)
            .Interrupt(pin: 2, irq);
}
