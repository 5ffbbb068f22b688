using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci.Devices;

/// <summary>Intel 82574L Ethernet controller, with the capabilities where QEMU's e1000e has them.</summary>
public static class Intel82574
{
    public static PciFunctionDescription At(HostBdf bdf, int irq = 16) =>
        new PciFunctionDescription(bdf, vendor: 0x8086, device: 0x10D3, classCode: 0x020000, configSize: PciFunctionDescription.Extended)
            .Subsystem(0x8086, 0x0000)
            .MemoryBar(0, 128 << 10)
            .MemoryBar(1, 128 << 10)
            .IoBar(2, 32)
            .MemoryBar(3, 16 << 10)
            .Rom(256 << 10)
            .Interrupt(pin: 1, irq)
            .PowerManagement(0xC8)
            .Msi(0xD0)
            .Express(0xE0)
            .Msix(0xA0, entries: 5, bar: 3, tableOffset: 0, pendingOffset: 0x2000)
            .AdvancedErrorReporting(0x100)
            .SerialNumber(0x140, 0x525400FFFF123456);
}
