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
public class EduMessage(ITestOutputHelper log)
{
    private const uint ConfWrite = 1, EnableMsi = 2, DisableMsi = 3;
    private const int Command = 0x04, RaiseInterrupt = 0x60;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task Edu_raises_its_msi_in_the_guest(string release)
    {
        await using var machine = await XenMachine.BootAsync(Release.Parse(release), ["edu"], await LabDaemon.MountedAsync());
        await machine.DomainZero.MakeAssignableAsync(machine.Devices[0].Bdf);
        var (kernel, daemon) = (await RaiseAsync(machine, Backend.Kernel), await RaiseAsync(machine, Backend.Daemon));
        Assert.Equal("pending before 0, after 1", daemon);
        Assert.Equal(kernel, daemon);
    }

    private async Task<string> RaiseAsync(XenMachine machine, Backend backend)
    {
        var dom0 = machine.DomainZero;
        await dom0.UseAsync(backend);
        await using var guest = await dom0.CreateGuestAsync("pv1", [machine.Devices[0].Bdf], new GuestOptions { LoadPcifront = false });
        var registers = long.Parse((await dom0.RunAsync($"head -n 1 /sys/bus/pci/devices/{machine.Devices[0].Bdf}/resource")).Split(' ')[0][2..],
            NumberStyles.HexNumber, CultureInfo.InvariantCulture);

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
