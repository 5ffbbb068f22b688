using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>What an administrator sees of a guest's boot and its driver with <c>xenpciback trace</c> in dom0.</summary>
[Collection(SharedMachines.Name)]
public class Trace(SharedMachines machines, ITestOutputHelper log)
{
    [LabFact]
    public async Task A_guests_boot_and_its_driver_can_be_followed_in_dom0()
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving);
        var (dom0, card) = (scenario.DomainZero, scenario.Devices.Card.Bdf);
        await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback trace --record /run/recording > /run/trace 2>&1 & echo $! > /run/trace.pid");
        await dom0.WaitUntilAsync("the trace to begin", "grep -q '^Tracing' /run/trace");
        var guest = await dom0.CreateGuestAsync("pv1", [card]);
        await guest.LoadCardDriverAsync();

        // Under emulation the viewer's first lines take their time.
        await dom0.WaitUntilAsync("the trace to show the driver's interrupts", "grep -q enable_msix /run/trace", TimeSpan.FromMinutes(2));
        var trace = await dom0.RunAsync("kill $(< /run/trace.pid); cat /run/trace");
        log.WriteLine(trace);
        Assert.Matches($@"{guest.DomainId} {card} read +000/4 Vendor ID += 10d38086", trace);
        Assert.Matches(@"write +004/2 Command +<- ", trace);
        Assert.Matches(@"enable_msix +3 vectors, entries 0 1 2 +PIRQs \d+ \d+ \d+", trace);
        Assert.DoesNotContain("too fast to be shown", trace, StringComparison.Ordinal);

        var replay = await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback replay /run/recording");
        log.WriteLine(replay);
        Assert.Matches(@"^\d{3,} operations replayed: no difference\.", replay);
    }
}
