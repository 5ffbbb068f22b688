using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>The daemon dies while a guest's device interrupts by MSI-X, and is started again.</summary>
[Collection(SharedMachines.Name)]
public class DaemonRestart(SharedMachines machines, ITestOutputHelper log)
{
    private const int Pings = 20;

    [LabFact]
    public async Task A_guests_interrupts_outlive_the_daemon_and_are_given_back_by_the_next_one()
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving);
        var withoutGuest = await InterruptListing.ReadAsync(scenario.DomainZero);
        await scenario.GoToAsync(Moment.ServingCard);
        var (dom0, guest) = (scenario.DomainZero, scenario.DomainZero.GuestNamed(SharedMachine.CardGuest));
        await guest.LoadCardDriverAsync();
        await guest.JoinNetworkAsync($"{SharedMachine.GuestAddress}/24", SharedMachine.Address);
        var withDriver = await OfXenAsync(dom0);

        await dom0.KillDaemonAsync();
        await guest.PingAsync(SharedMachine.Address, Pings);
        Assert.Equal(withDriver, await OfXenAsync(dom0));
        await dom0.StartDaemonAsync();
        await guest.PingAsync(SharedMachine.Address, Pings);
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
