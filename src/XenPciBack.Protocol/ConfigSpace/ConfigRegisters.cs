namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>Byte offsets in config space (PCI Local Bus Specification 3.0, chapter 6; Linux include/uapi/linux/pci_regs.h).</summary>
internal static class Register
{
    public const int VendorId = 0x00;
    public const int DeviceId = 0x02;
    public const int Command = 0x04;
    public const int Status = 0x06;
    public const int CacheLineSize = 0x0C;
    public const int LatencyTimer = 0x0D;
    public const int HeaderType = 0x0E;
    public const int Bist = 0x0F;
    public const int Bar0 = 0x10;
    public const int Rom = 0x30;
    public const int RomOfBridge = 0x38;
    public const int CapabilityPointer = 0x34;
    public const int InterruptLine = 0x3C;
    public const int InterruptPin = 0x3D;

    /// <summary>First byte behind the standard header; capabilities live from here on.</summary>
    public const int HeaderEnd = 0x40;
}

/// <summary>Bits of the command register.</summary>
internal static class CommandBits
{
    public const uint Io = 0x001;
    public const uint Memory = 0x002;
    public const uint Decoding = Io | Memory;
    public const uint Master = 0x004;
    public const uint MemoryWriteInvalidate = 0x010;
    public const uint IntxDisable = 0x400;

    /// <summary>The bits whose hardware value the guest reads: master, special cycles, MWI, VGA snoop, wait, fast back-to-back.</summary>
    public const uint FromHardware = 0x2BC;
}

/// <summary>Capability ids that have virtual fields.</summary>
internal static class CapabilityId
{
    public const uint PowerManagement = 0x01;
    public const uint VitalProductData = 0x03;
    public const uint Msi = 0x05;
    public const uint PciExpress = 0x10;
    public const uint Msix = 0x11;

    /// <summary>Advanced Error Reporting, an extended capability.</summary>
    public const uint ErrorReporting = 0x0001;
}
