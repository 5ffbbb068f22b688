using System.Text;

namespace XenPciBack.Simulation.Guests;

/// <summary>A guest's devices in the words of <c>lspci -nnv</c>.</summary>
public static class Lspci
{
    /// <summary>All devices, separated by empty lines.</summary>
    public static string Describe(IEnumerable<GuestPciDevice> devices) => string.Join("\n", devices.Select(Describe));

    public static string Describe(GuestPciDevice device)
    {
        var text = new StringBuilder();
        text.Append(Headline(device)).Append('\n');
        foreach (var bar in device.Bars) text.Append('\t').Append(Describe(bar)).Append('\n');
        foreach (var capability in device.Capabilities) text.Append($"\tCapabilities: [{capability.Offset:x2}] {capability.Text}\n");
        return text.ToString();
    }

    /// <summary><c>00:00.0 Ethernet controller [0200]: Intel Corporation 82574L Gigabit Network Connection [8086:10d3]</c></summary>
    public static string Headline(GuestPciDevice device)
    {
        var address = device.Address.StartsWith("0000:", StringComparison.Ordinal) ? device.Address[5..] : device.Address;
        var revision = device.Revision == 0 ? "" : $" (rev {device.Revision:x2})";
        return $"{address} {ClassName(device.ClassCode)} [{device.ClassCode >> 8:x4}]: {DeviceName(device)} [{device.VendorId:x4}:{device.DeviceId:x4}]{revision}";
    }

    private static string Describe(GuestBar bar) => bar switch
    {
        { Index: GuestBar.Rom } => $"Expansion ROM at {bar.Address:x8} [size={Size(bar.Size)}]",
        { IsIo: true } => $"I/O ports at {bar.Address:x4} [size={Size(bar.Size)}]",
        _ => $"Memory at {bar.Address:x8} ({(bar.Is64Bit ? "64" : "32")}-bit, {(bar.IsPrefetchable ? "" : "non-")}prefetchable) [size={Size(bar.Size)}]",
    };

    private static string Size(ulong bytes) => bytes switch
    {
        >= 1 << 30 => $"{bytes >> 30}G",
        >= 1 << 20 => $"{bytes >> 20}M",
        >= 1 << 10 => $"{bytes >> 10}K",
        _ => $"{bytes}",
    };

    // Only what the simulated host has; a real guest asks pci.ids.
    private static string ClassName(uint classCode) => (classCode >> 8) switch
    {
        0x00FF => "Unclassified device",
        0x0106 => "SATA controller",
        0x0108 => "Non-Volatile memory controller",
        0x0200 => "Ethernet controller",
        0x0604 => "PCI bridge",
        0x0C05 => "SMBus",
        _ => "Class",
    };

    private static string DeviceName(GuestPciDevice device) => (device.VendorId, device.DeviceId) switch
    {
        (0x8086, 0x10D3) => "Intel Corporation 82574L Gigabit Network Connection",
        (0x8086, 0x2922) => "Intel Corporation 82801IR/IO/IH (ICH9R/DO/DH) 6 port SATA Controller [AHCI mode]",
        (0x8086, 0x2930) => "Intel Corporation 82801I (ICH9 Family) SMBus Controller",
        (0x1234, 0x11E8) => "QEMU educational device",
        (0x1B36, 0x0001) => "Red Hat, Inc. QEMU PCI-PCI bridge",
        (0x1B36, 0x0010) => "Red Hat, Inc. QEMU NVM Express Controller",
        _ => "Device",
    };
}
