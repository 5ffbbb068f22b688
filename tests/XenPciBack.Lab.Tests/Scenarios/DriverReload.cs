using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// Linux 6.1's frontend takes back MSI-X by a request for MSI. Under the kernel's backend a driver that is loaded again then has
/// lost MSI-X for good.
/// </summary>
public class DriverReload(ITestOutputHelper log)
{
    private const int Reloads = 3;

    [LabFact]
    public async Task A_driver_that_is_loaded_again_has_msix_again_and_nothing_stays_mapped()
    {
        await using var machine = await XenMachine.BootAsync(Release.Bookworm, ["e1000e"], await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;
        await dom0.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
        await dom0.UseAsync(Backend.Daemon);
        var before = await MessageVectorsAsync(dom0);
        await using var guest = await dom0.CreateGuestAsync("pv1", [.. machine.Devices.Select(device => device.Bdf)]);

        for (var i = 0; i < Reloads; i++)
        {
            await guest.RunAsync("modprobe e1000e && ip link set eth0 up");
            var interrupts = await guest.RunAsync("grep eth0 /proc/interrupts");
            log.WriteLine(interrupts);
            Assert.Equal(3, interrupts.Split('\n').Count(line => line.Contains("-msi-x", StringComparison.Ordinal)));
            Assert.Equal(3, (await dom0.RunAsync("cat /run/xenpciback/pirqs/*")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
            await guest.RunAsync("ip link set eth0 down && rmmod e1000e");
            Assert.Equal("", await dom0.RunAsync("ls /run/xenpciback/pirqs"));
        }
        log.WriteLine(await guest.RunAsync("dmesg | grep -iE 'msi|pci frontend|e1000e'"));
        Assert.Equal(before, await MessageVectorsAsync(dom0));

        await guest.RunAsync("modprobe e1000e && ip link set eth0 up");
        await guest.DestroyAsync();
        Assert.Equal("", await dom0.RunAsync("ls /run/xenpciback/pirqs"));
        Assert.Equal(before, await MessageVectorsAsync(dom0));
        log.WriteLine(await dom0.DaemonLogAsync());
    }

    /// <summary>How many MSI and MSI-X vectors the hypervisor has set up, for dom0's devices and for guests'.</summary>
    private static async Task<int> MessageVectorsAsync(DomainZero dom0) =>
        (await dom0.RunAsync("xl dmesg -c > /dev/null; xl debug-keys M; xl dmesg")).Split('\n').Count(line => line.Contains(" vec=", StringComparison.Ordinal));
}
