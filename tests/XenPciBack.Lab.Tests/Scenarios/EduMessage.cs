using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// QEMU's edu device has no driver in Debian's kernel: a frontend of the lab's own enables its MSI, binds the PIRQ, and has the device
/// raise it. The hypervisor's listing says whether the message reached the guest.
/// </summary>
[Collection(SharedMachines.Name)]
public class EduMessage(SharedMachines machines, ITestOutputHelper log)
{
    private const uint ConfWrite = 1, EnableMsi = 2, DisableMsi = 3;
    private const int Command = 0x04, RaiseInterrupt = 0x60;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task Edu_raises_its_msi_in_the_guest(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable, Release.Parse(release));
        var kernel = await RaiseAsync(scenario, BackendKind.Kernel);
        await scenario.GoToAsync(Moment.Serving);
        var daemon = await RaiseAsync(scenario, BackendKind.Daemon);
        Assert.Equal("pending before 0, after 1", daemon);
        Assert.Equal(kernel, daemon);
    }

    private async Task<string> RaiseAsync(SharedMachines.Scenario scenario, BackendKind backend)
    {
        var (dom0, edu) = (scenario.DomainZero, scenario.Devices.Edu.Bdf);
        await dom0.UseAsync(backend);
        var guest = await dom0.CreateGuestAsync("pv1", [edu], new GuestOptions { LoadPcifront = false });
        var range = await dom0.RunAsync($"head -n 1 /sys/bus/pci/devices/{edu}/resource");
        var registers = long.Parse(range.Split(' ')[0][2..], NumberStyles.HexNumber, CultureInfo.InvariantCulture);

        var frontend = await RawFrontend.ConnectAsync(guest);
        Assert.Equal(0, (await frontend.RequestAsync(ConfWrite, Command, 2, 0x0006)).Error);
        var (error, pirq) = await frontend.RequestAsync(EnableMsi);
        Assert.Equal(0, error);
        Assert.NotEqual(0u, pirq);
        var port = int.Parse(Assert.Single(await frontend.AskAsync("bind")), CultureInfo.InvariantCulture);

        var before = await PendingAsync(dom0, guest, port);
        Assert.Equal(["ok"], await frontend.AskAsync($"poke {registers + RaiseInterrupt} 1"));
        var after = await PendingAsync(dom0, guest, port);
        Assert.Equal(0, (await frontend.RequestAsync(DisableMsi)).Error);
        await guest.DestroyAsync();
        return $"pending before {before}, after {after}";
    }

    /// <summary>The pending bit of the guest's port, as the hypervisor lists it: <c>port [pending/masked/...]: s=4 ... p=PIRQ</c>.</summary>
    private async Task<string> PendingAsync(DomainZero dom0, Guest guest, int port)
    {
        var listing = await dom0.DebugKeysAsync("e");
        var ofGuest = listing.Split($"information for domain {guest.DomainId}:")[1].Split("information for domain")[0];
        log.WriteLine(ofGuest);
        return Regex.Match(ofGuest, $@"^\(XEN\) +{port} \[(\d)/", RegexOptions.Multiline | RegexOptions.CultureInvariant).Groups[1].Value;
    }
}
