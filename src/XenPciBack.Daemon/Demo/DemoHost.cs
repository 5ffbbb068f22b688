using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Daemon.Demo;

/// <summary>What the demo shows: an embedded Xen host with six devices, and three guests that share them.</summary>
internal static class DemoHost
{
    public sealed record GuestPlan(string Name, IReadOnlyList<HostBdf> Devices);

    private static readonly HostBdf
        Nic = HostBdf.Parse("0000:03:00.0"), Disk = HostBdf.Parse("0000:04:00.0"),
        Sata = HostBdf.Parse("0000:00:1f.2"), Smbus = HostBdf.Parse("0000:00:1f.3"),
        Edu = HostBdf.Parse("0000:05:01.0"), Bridge = HostBdf.Parse("0000:00:1e.0");

    public static readonly IReadOnlyList<GuestPlan> Guests =
    [
        new("web", [Nic, Disk]),
        new("storage", [Sata, Smbus]),
        new("lab", [Edu, Bridge]),
    ];

    public static int DeviceCount => Guests.Sum(g => g.Devices.Count);

    public static async Task<SimulatedXenHost> StartAsync(string socket)
    {
        var host = await SimulatedXenHost.StartAsync(socket);
        host.Pci.Plug(Intel82574.At(Nic));
        host.Pci.Plug(Nvme.At(Disk));
        host.Pci.Plug(Ich9.Sata(Sata));
        host.Pci.Plug(Ich9.Smbus(Smbus));
        host.Pci.Plug(QemuEdu.At(Edu));
        host.Pci.Plug(RedHatPciBridge.At(Bridge));
        return host;
    }
}
