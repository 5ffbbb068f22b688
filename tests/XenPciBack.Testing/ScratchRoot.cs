namespace XenPciBack.Testing;

/// <summary>A directory that stands for <c>/</c>: plain files in the places where the kernel shows its own.</summary>
public sealed class ScratchRoot : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("xenpciback-root-").FullName;

    /// <summary>A dom0 with nothing to complain about.</summary>
    public static ScratchRoot GoodDom0() => new ScratchRoot()
        .With("/sys/hypervisor/type", "xen\n")
        .With("/proc/xen/capabilities", "control_d\n")
        .With("/dev/xen/gntdev", "").With("/dev/xen/evtchn", "").With("/dev/xen/privcmd", "")
        .With("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        .With("/sys/bus/pci/drivers/pciback/new_slot", "")
        .With("/sys/bus/xen-backend/drivers_autoprobe", "0\n");

    public ScratchRoot With(string path, string text)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path + path)!);
        File.WriteAllText(Path + path, text);
        return this;
    }

    public ScratchRoot WithLink(string path, string target)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path + path)!);
        Directory.CreateSymbolicLink(Path + path, target);
        return this;
    }

    public ScratchRoot Without(string path)
    {
        if (Directory.Exists(Path + path)) Directory.Delete(Path + path, recursive: true);
        else File.Delete(Path + path);
        return this;
    }

    /// <summary>A function with a type-0 header: 8086:10d3, one 128 KiB memory BAR, irq 19.</summary>
    public ScratchRoot WithDevice(string bdf, string? driver, byte[] config)
    {
        var directory = $"/sys/bus/pci/devices/{bdf}";
        With($"{directory}/vendor", "0x8086\n").With($"{directory}/device", "0x10d3\n").With($"{directory}/irq", "19\n");
        With($"{directory}/resource", string.Concat(
            "0x00000000febc0000 0x00000000febdffff 0x0000000000040200\n",
            string.Concat(Enumerable.Repeat("0x0000000000000000 0x0000000000000000 0x0000000000000000\n", 12))));
        File.WriteAllBytes($"{Path}{directory}/config", config);
        return driver is null ? this : WithLink($"{directory}/driver", $"../../../bus/pci/drivers/{driver}");
    }

    /// <summary>The device's directory under the scratch root.</summary>
    public string DeviceDirectory(string bdf) => $"{Path}/sys/bus/pci/devices/{bdf}";

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
