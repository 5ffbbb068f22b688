using System.Collections.Immutable;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Pci;

/// <summary>
/// What a function is made of, written down in the order of its data sheet: identity, BARs, then its capabilities in the order
/// of their list. Addresses are assigned when it is plugged in, as firmware does.
/// </summary>
/// <remarks>
/// Register layouts: PCI Local Bus Specification 3.0 chapter 6 (header, MSI, MSI-X), PCI Power Management 1.2 chapter 3,
/// PCI Express Base 3.0 chapter 7. Offsets are those of Linux include/uapi/linux/pci_regs.h.
/// </remarks>
public sealed partial class PciFunctionDescription
{
    /// <summary>Space of the conventional header and capabilities, and with the extended capabilities of PCI Express, in bytes.</summary>
    public const int Conventional = 256, Extended = 4096;

    private readonly List<PciBar> _bars = [];
    private int _lastCapability;
    private int _lastExtendedCapability;

    /// <param name="configSize"><see cref="Conventional"/> or <see cref="Extended"/>.</param>
    /// <param name="classCode">Base class, subclass and programming interface: 24 bits.</param>
    public PciFunctionDescription(HostBdf bdf, ushort vendor, ushort device, uint classCode, byte revision = 0, int configSize = Conventional)
    {
        Bdf = bdf;
        (Vendor, Device) = (vendor, device);
        Registers = new ConfigRegisters(configSize);
        Registers.Define(0x00, 2, vendor);
        Registers.Define(0x02, 2, device);
        // I/O, memory, master, parity, SERR#, INTx disable; status: the error bits, cleared by 1.
        Registers.Define(0x04, 2, 0, writable: 0x0547);
        Registers.Define(0x06, 2, 0, clearedByOne: 0xF900);
        Registers.Define(0x08, 4, classCode << 8 | revision);
        Registers.Define(0x0C, 1, 0, writable: 0xFF);
        Registers.Define(0x3C, 1, 0, writable: 0xFF);
    }

    public HostBdf Bdf { get; }
    public ushort Vendor { get; }
    public ushort Device { get; }

    /// <summary>The Linux IRQ number of its INTx line on the host, 0 if it has none.</summary>
    public int Irq { get; private set; }

    /// <summary>Host drivers that listen on its INTx line.</summary>
    public ImmutableArray<string> LineSharers { get; private set; } = [];

    /// <summary>An SR-IOV virtual function: its id registers read all ones, and only the kernel knows who it is.</summary>
    public bool IsVirtualFunction { get; private set; }

    /// <summary>The bridges above it, the one at the root bus first.</summary>
    public ImmutableArray<HostBdf> Bridges { get; private set; } = [];

    /// <summary>The kernel knows a way to reset this function alone.</summary>
    public bool CanReset { get; private set; }

    internal ConfigRegisters Registers { get; }
    internal IReadOnlyList<PciBar> Bars => _bars;

    public PciFunctionDescription Subsystem(ushort vendor, ushort device)
    {
        Registers.Define(0x2C, 2, vendor);
        Registers.Define(0x2E, 2, device);
        return this;
    }

    /// <summary>One of several functions in its slot.</summary>
    public PciFunctionDescription MultiFunction()
    {
        Registers.Define(0x0E, 1, Registers.Read(0x0E, 1) | 0x80);
        return this;
    }

    /// <summary>A header of type 1: bus numbers and windows instead of BARs 2 to 5.</summary>
    public PciFunctionDescription Bridge()
    {
        Registers.Define(0x0E, 1, Registers.Read(0x0E, 1) | 0x01);
        Registers.Define(0x18, 4, 0, writable: 0xFFFFFFFF);                         // primary, secondary, subordinate bus; latency
        Registers.Define(0x1C, 2, 0x0101, writable: 0xF0F0);                        // I/O window, 32-bit
        Registers.Define(0x1E, 2, 0x00A0, clearedByOne: 0xF900);                    // secondary status
        Registers.Define(0x20, 4, 0, writable: 0xFFF0FFF0);                         // memory window
        Registers.Define(0x24, 4, 0x00010001, writable: 0xFFF0FFF0);                // prefetchable window, 64-bit
        Registers.Define(0x28, 4, 0, writable: 0xFFFFFFFF);
        Registers.Define(0x2C, 4, 0, writable: 0xFFFFFFFF);
        Registers.Define(0x3E, 2, 0, writable: 0x0FFF);                             // bridge control
        return this;
    }

    public PciFunctionDescription IoBar(int index, uint size) => Add(new PciBar(index, PciBarKind.Io, size));

    public PciFunctionDescription MemoryBar(int index, ulong size) => Add(new PciBar(index, PciBarKind.Memory32, size));

    /// <summary>Takes registers <paramref name="index"/> and the one after it.</summary>
    public PciFunctionDescription MemoryBar64(int index, ulong size, bool prefetchable = false) =>
        Add(new PciBar(index, prefetchable ? PciBarKind.Memory64Prefetchable : PciBarKind.Memory64, size));

    public PciFunctionDescription Rom(ulong size) => Add(new PciBar(PciBar.Rom, PciBarKind.Rom, size));

    /// <param name="pin">1 to 4 for INTA to INTD.</param>
    /// <param name="irq">The host's number of that line.</param>
    public PciFunctionDescription Interrupt(byte pin, int irq)
    {
        Registers.Define(0x3D, 1, pin);
        Registers.Define(0x3C, 1, (uint)irq & 0xFF, writable: 0xFF);
        Irq = irq;
        return this;
    }

    public PciFunctionDescription SharingItsLineWith(params ImmutableArray<string> hostDrivers)
    {
        LineSharers = hostDrivers;
        return this;
    }

    /// <summary>Any register this description has no word for, or one that is other than usual.</summary>
    /// <param name="value">After power-on.</param>
    /// <param name="writable">The bits software can change.</param>
    /// <param name="clearedByOne">The bits that writing 1 clears.</param>
    public PciFunctionDescription Register(int at, int width, uint value, uint writable = 0, uint clearedByOne = 0)
    {
        Registers.Define(at, width, value, writable, clearedByOne);
        return this;
    }

    public PciFunctionDescription VirtualFunction()
    {
        Registers.Define(0x00, 4, 0xFFFFFFFF);
        IsVirtualFunction = true;
        return this;
    }

    public PciFunctionDescription Behind(params ImmutableArray<HostBdf> bridges)
    {
        Bridges = bridges;
        return this;
    }

    public PciFunctionDescription Resettable()
    {
        CanReset = true;
        return this;
    }

    private PciFunctionDescription Add(PciBar bar)
    {
        _bars.Add(bar);
        return this;
    }
}
