using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>An unmodified guest uses its devices through the daemon exactly as through the kernel's backend.</summary>
public class FirstLight(ITestOutputHelper log)
{
    private static readonly string[] Devices = ["e1000e", "edu"];

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_guest_sees_and_leaves_its_devices_as_under_the_kernels_backend(string release)
    {
        await using var machine = await XenMachine.BootAsync(Release.Parse(release), Devices, await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;

        var sections = await BackendComparison.RunAsync(machine, Backend.Kernel, Backend.Daemon, quick: true, TextWriter.Null);
        var report = new StringWriter();
        var differences = Report.Write(sections, report);
        log.WriteLine(report.ToString());
        Assert.True(differences == 0, report.ToString());

        await using var guest = await dom0.CreateGuestAsync("pv2", [.. machine.Devices.Select(device => device.Bdf)]);
        var lspci = await guest.RunAsync("lspci -n 2> /dev/null");
        Assert.Contains("8086:10d3", lspci);
        Assert.Contains("1234:11e8", lspci);

        await guest.ShutdownAsync();
        var daemon = await dom0.DaemonLogAsync();
        log.WriteLine(daemon);
        Assert.Equal("", await dom0.RunAsync("xenstore-ls -f /local/domain/0/backend/pci 2> /dev/null || true"));
        Assert.Contains("Page and port released", daemon);
        foreach (var device in machine.Devices) Assert.Contains($"{device.Bdf} released", daemon);
    }
}
