namespace XenPciBack.Testing;

/// <summary>A register of config space.</summary>
/// <param name="Offset">Where it begins, in bytes.</param>
/// <param name="Size">Its width, 1, 2 or 4 bytes.</param>
/// <remarks>Source: PCI Local Bus Specification 3.0, section 6.1; names as in Linux's pci_regs.h.</remarks>
public readonly record struct Register(int Offset, int Size)
{
    /// <summary>Vendor ID, and Device ID in the upper half.</summary>
    public static readonly Register Ids = new(0x00, 4);

    public static readonly Register Command = new(0x04, 2);
    public static readonly Register Status = new(0x06, 2);

    /// <summary>Revision ID, and class code in the upper three bytes.</summary>
    public static readonly Register Revision = new(0x08, 4);

    public static readonly Register CacheLineSize = new(0x0C, 1);
    public static readonly Register Bist = new(0x0F, 1);
    public static readonly Register Rom = new(0x30, 4);

    /// <summary>Of a bridge.</summary>
    public static readonly Register BridgeRom = new(0x38, 4);

    public static readonly Register InterruptLine = new(0x3C, 1);
    public static readonly Register InterruptPin = new(0x3D, 1);
    public static readonly Register MinGnt = new(0x3E, 1);

    /// <param name="index">0 to 5.</param>
    public static Register Bar(int index) => new(0x10 + 4 * index, 4);

    public override string ToString() => $"{Offset:x3}/{Size}";
}

/// <summary>Registers of the capabilities of an Intel 82574L, as <see cref="TestDevices.Nic"/> has them.</summary>
public static class NicRegister
{
    public static readonly Register MsixControl = new(0xA2, 2);
    public static readonly Register PowerCapabilities = new(0xCA, 2);
    public static readonly Register PowerControl = new(0xCC, 2);
    public static readonly Register MsiControl = new(0xD2, 2);
    public static readonly Register MsiAddress = new(0xD4, 4);

    /// <summary>Of the PCI Express capability: a register without a rule.</summary>
    public static readonly Register LinkControl = new(0xF0, 2);

    /// <summary>The header of the AER capability.</summary>
    public static readonly Register Aer = new(0x100, 4);
}

/// <summary>Bits of <see cref="Register.Command"/>.</summary>
public static class CommandBits
{
    public const uint Io = 0x001, Memory = 0x002, Master = 0x004, Invalidate = 0x010, Parity = 0x040, Serr = 0x100;
    public const uint FastBackToBack = 0x200, IntxDisable = 0x400;
}
