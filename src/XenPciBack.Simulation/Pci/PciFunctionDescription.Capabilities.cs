namespace XenPciBack.Simulation.Pci;

// The capabilities a function can have. Each is put at a given offset and linked behind the one described before it.
public sealed partial class PciFunctionDescription
{
    /// <summary>Power management, version 2: D0 and D3hot, nothing lost between them (No_Soft_Reset).</summary>
    /// <param name="pmeFrom">The states that can raise PME#, as bits 15..11 of PMC.</param>
    public PciFunctionDescription PowerManagement(int at, uint pmeFrom = 0xC800)
    {
        const uint powerState = 0x3, noSoftReset = 0x8, pmeEnable = 0x100, pmeStatus = 0x8000;
        Capability(at, id: 0x01);
        Registers.Define(at + 2, 2, pmeFrom | 0x2);
        Registers.Define(at + 4, 2, noSoftReset, writable: powerState | pmeEnable, clearedByOne: pmeStatus);
        // D1 and D2 are not there: asking for them changes nothing (PCI PM 1.2, 3.2.4).
        Registers.AddRule(new RegisterRule(at + 4, 2, (before, after) => (after & powerState) is 1 or 2 ? (after & ~powerState) | (before & powerState) : after));
        return this;
    }

    /// <summary>Vital product data: both registers keep what is written to them, and nothing is stored behind them.</summary>
    public PciFunctionDescription VitalProductData(int at)
    {
        Capability(at, id: 0x03);
        Registers.Define(at + 2, 2, 0, writable: 0xFFFF);
        Registers.Define(at + 4, 4, 0, writable: 0xFFFFFFFF);
        return this;
    }

    /// <param name="vectors">Messages the device can send: 1, 2, 4, ... 32.</param>
    /// <param name="maskable">Per-vector mask and pending bits.</param>
    public PciFunctionDescription Msi(int at, int vectors = 1, bool is64Bit = true, bool maskable = false)
    {
        var capable = (uint)int.Log2(vectors) << 1 | (is64Bit ? 0x80u : 0) | (maskable ? 0x100u : 0);
        Capability(at, id: 0x05);
        Registers.Define(at + 2, 2, capable, writable: 0x0071);
        Registers.Define(at + 4, 4, 0, writable: 0xFFFFFFFC);
        if (is64Bit) Registers.Define(at + 8, 4, 0, writable: 0xFFFFFFFF);
        var data = is64Bit ? at + 12 : at + 8;
        Registers.Define(data, 2, 0, writable: 0xFFFF);
        if (maskable) Registers.Define(data + 4, 4, 0, writable: uint.MaxValue >> (32 - vectors));
        return this;
    }

    /// <param name="entries">Size of the table, 1 to 2048.</param>
    /// <param name="bar">The BAR with the table and the pending bits.</param>
    public PciFunctionDescription Msix(int at, int entries, int bar, uint tableOffset, uint pendingOffset)
    {
        Capability(at, id: 0x11);
        Registers.Define(at + 2, 2, (uint)entries - 1, writable: 0xC000);
        Registers.Define(at + 4, 4, tableOffset | (uint)bar);
        Registers.Define(at + 8, 4, pendingOffset | (uint)bar);
        return this;
    }

    /// <summary>PCI Express, version 2.</summary>
    /// <param name="type">Device/port type: 0 endpoint, 9 root complex integrated endpoint.</param>
    public PciFunctionDescription Express(int at, uint type = 0, bool functionLevelReset = false)
    {
        Capability(at, id: 0x10);
        Registers.Define(at + 2, 2, type << 4 | 0x2);
        Registers.Define(at + 4, 4, 0x8000 | (functionLevelReset ? 0x1000_0000u : 0));          // role-based error reporting
        Registers.Define(at + 8, 2, 0x2810, writable: 0x78FF);                                 // device control; bit 15 (FLR) reads 0
        Registers.Define(at + 10, 2, 0, clearedByOne: 0x000F);                                 // device status
        Registers.Define(at + 12, 4, 0x0000_0011);                                             // link: 2.5 GT/s, x1
        Registers.Define(at + 16, 2, 0, writable: 0x01FB);
        Registers.Define(at + 18, 2, 0x0011);
        Registers.Define(at + 36, 4, 0x10);                                                    // device capabilities 2
        Registers.Define(at + 40, 2, 0, writable: 0x001F);
        if (functionLevelReset) CanReset = true;
        return this;
    }

    /// <summary>Advanced error reporting with the default severities of PCI Express Base 3.0, 7.10.</summary>
    public PciFunctionDescription AdvancedErrorReporting(int at)
    {
        const uint uncorrectable = 0x001F_F030, correctable = 0x0000_31C1;
        ExtendedCapability(at, id: 0x0001, version: 2);
        Registers.Define(at + 0x04, 4, 0, clearedByOne: uncorrectable);
        Registers.Define(at + 0x08, 4, 0, writable: uncorrectable);
        Registers.Define(at + 0x0C, 4, 0x0006_2030, writable: uncorrectable);
        Registers.Define(at + 0x10, 4, 0, clearedByOne: correctable);
        Registers.Define(at + 0x14, 4, 0x0000_2000, writable: correctable);
        Registers.Define(at + 0x18, 4, 0x0000_00A0, writable: 0x0000_0140);
        return this;
    }

    public PciFunctionDescription SerialNumber(int at, ulong serial)
    {
        ExtendedCapability(at, id: 0x0003, version: 1);
        Registers.Define(at + 4, 4, (uint)serial);
        Registers.Define(at + 8, 4, (uint)(serial >> 32));
        return this;
    }

    /// <summary>A vendor-specific capability: bytes to read, nothing to write.</summary>
    public PciFunctionDescription VendorSpecific(int at, byte length)
    {
        Capability(at, id: 0x09);
        Registers.Define(at + 2, 1, length);
        return this;
    }

    private void Capability(int at, byte id)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(at % 4, 0);
        const uint hasList = 0x10;
        Registers.Define(0x06, 2, Registers.Read(0x06, 2) | hasList, clearedByOne: 0xF900);
        Registers.Define(_lastCapability == 0 ? 0x34 : _lastCapability + 1, 1, (uint)at);
        Registers.Define(at, 1, id);
        _lastCapability = at;
    }

    private void ExtendedCapability(int at, uint id, uint version)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(_lastExtendedCapability == 0, at == 0x100);
        if (_lastExtendedCapability != 0)
            Registers.Define(_lastExtendedCapability, 4, Registers.Read(_lastExtendedCapability, 4) | (uint)at << 20);
        Registers.Define(at, 4, version << 16 | id);
        _lastExtendedCapability = at;
    }
}
