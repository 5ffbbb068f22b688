using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// Linux 6.1's frontend takes back MSI-X by a request for MSI. Under the kernel's backend a driver that is loaded again then has
/// lost MSI-X for good. <c>lab churn</c> is the long form: 50 loads and 20 guests, beside the kernel's backend.
/// </summary>
[Collection(SharedMachines.Name)]
public class DriverReload(SharedMachines machines, ITestOutputHelper log)
{
    private const int Reloads = 4, Guests = 2;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_driver_that_is_loaded_again_has_msix_again_and_nothing_stays_mapped(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving, Release.Parse(release));
        var dom0 = scenario.DomainZero;
        var card = scenario.Devices.Card;
        var result = await DriverChurn.RunAsync(dom0, card, BackendKind.Daemon, Reloads, Guests, TextWriter.Null);
        log.WriteLine(await dom0.DaemonLogAsync());
        Assert.Equal($"{Reloads} x MSI-X", result.LoadsInWords);
        Assert.Empty(result.LeakedByReloads);
        Assert.Empty(result.LeakedByGuests);
        Assert.Equal("", await dom0.RunAsync("ls /run/xenpciback/devices"));
    }
}
