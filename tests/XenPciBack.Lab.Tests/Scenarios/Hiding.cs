using System.Text.RegularExpressions;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>Devices are taken from the host and given back, but for those it could not do without.</summary>
[Collection(SharedMachines.Name)]
public partial class Hiding(SharedMachines machines, ITestOutputHelper log)
{
    [LabFact]
    public async Task The_disk_that_dom0_runs_from_is_refused_and_a_card_comes_and_goes()
    {
        await using var scenario = await machines.BeginAsync(Moment.Booted);
        var (dom0, card) = (scenario.DomainZero, scenario.Devices.Card.Bdf);
        await dom0.RunAsync("modprobe xen-pciback; modprobe e1000e");

        var disk = Bdf().Matches(await dom0.RunAsync("readlink -f /sys/dev/block/$(mountpoint -d /)"))[^1].Value;
        var refusal = await dom0.TryRunAsync($"{DomainZero.DaemonDirectory}/xenpciback hide {disk} 2>&1");
        log.WriteLine(refusal.Output.Trim());
        Assert.Equal(1, refusal.ExitCode);
        Assert.Matches($"^xenpciback: {disk}: the host is using it: / is mounted from ", refusal.Output);
        await dom0.RunAsync($"[ ! -e /sys/bus/pci/drivers/pciback/{disk} ]");

        log.WriteLine((await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback hide {card}")).Trim());
        Assert.Contains(card, await dom0.RunAsync("xl pci-assignable-list"), StringComparison.Ordinal);
        log.WriteLine((await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback unhide {card}")).Trim());
        Assert.Equal("e1000e", (await dom0.RunAsync($"basename $(readlink /sys/bus/pci/devices/{card}/driver)")).Trim());
    }

    [GeneratedRegex(@"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", RegexOptions.CultureInvariant)]
    private static partial Regex Bdf();
}
