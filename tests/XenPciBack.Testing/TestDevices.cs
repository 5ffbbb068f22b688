using XenPciBack.Protocol;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Testing;

/// <summary>The devices that a test's dom0 has, and what their registers read.</summary>
public static class TestDevices
{
    public static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");
    public static readonly HostBdf Sata = HostBdf.Parse("0000:00:1f.2");
    public static readonly HostBdf Smbus = HostBdf.Parse("0000:00:1f.3");
    public static readonly HostBdf Edu = HostBdf.Parse("0000:05:01.0");

    /// <summary>Free for a device of the test's own.</summary>
    public static readonly HostBdf Spare = HostBdf.Parse("0000:06:00.0");

    /// <summary>What <see cref="Register.Ids"/> reads.</summary>
    public const uint NicIds = 0x10D3_8086, EduIds = 0x11E8_1234, SmbusIds = 0x2930_8086;

    /// <summary>What <see cref="Register.Revision"/> reads, which comes from the device at each request, unlike the IDs.</summary>
    public const uint NicRevision = 0x0200_0000, EduRevision = 0x00FF_0010;

    /// <summary>A device with as many MSI-X vectors as one request can ask for.</summary>
    public static PciFunctionDescription WithManyVectors(HostBdf bdf) =>
        new PciFunctionDescription(bdf, vendor: 0x1234, device: 0x0080, classCode: 0xFF0000)
            .MemoryBar(0, 16 << 10)
            .Msix(0x40, entries: 128, bar: 0, tableOffset: 0, pendingOffset: 0x2000);
}
