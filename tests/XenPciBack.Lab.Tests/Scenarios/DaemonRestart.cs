using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>The daemon dies while a guest's device interrupts by MSI-X, and is started again.</summary>
public class DaemonRestart(ITestOutputHelper log)
{
    private const string DomainZeroAddress = "10.0.0.1";
    private const int Pings = 20;

    [LabFact]
    public async Task A_guests_interrupts_outlive_the_daemon_and_are_given_back_by_the_next_one()
    {
        await using var machine = await XenMachine.BootAsync(Release.Bookworm, ["e1000e"], await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;
        await dom0.MakeAssignableAsync(machine.Devices[0].Bdf);
        await dom0.JoinNetworkAsync($"{DomainZeroAddress}/24");
        await dom0.UseAsync(Backend.Daemon);
        var withoutGuest = await InterruptListing.ReadAsync(dom0);
        await using var guest = await dom0.CreateGuestAsync("pv1", [machine.Devices[0].Bdf]);
        await guest.LoadCardDriverAsync();
        await guest.JoinNetworkAsync("10.0.0.2/24", DomainZeroAddress);
        var withDriver = await OfXenAsync(dom0);

        await dom0.KillDaemonAsync();
        await guest.PingAsync(DomainZeroAddress, Pings);
        Assert.Equal(withDriver, await OfXenAsync(dom0));
        await dom0.StartDaemonAsync();
        await guest.PingAsync(DomainZeroAddress, Pings);
        Assert.Equal(withDriver, await OfXenAsync(dom0));

        await guest.UnloadCardDriverAsync();
        await guest.LoadCardDriverAsync();
        var interrupts = await guest.RunAsync("grep eth0 /proc/interrupts");
        log.WriteLine(interrupts);
        Assert.Equal(3, interrupts.Split("-msi-x ").Length - 1);
        await guest.DestroyAsync();
        log.WriteLine(await dom0.DaemonLogAsync());
        Assert.Equal(withoutGuest, await InterruptListing.ReadAsync(dom0));
        Assert.Equal("", await dom0.RunAsync("ls /run/xenpciback/devices"));
    }

    /// <summary>What the hypervisor has; dom0's own list has the daemon's event channel, which ends and begins with it.</summary>
    private static async Task<IEnumerable<string>> OfXenAsync(DomainZero dom0) =>
        [.. (await InterruptListing.ReadAsync(dom0)).Where(line => line.StartsWith("Xen ", StringComparison.Ordinal))];
}
