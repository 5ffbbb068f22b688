using XenPciBack.Backend;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>An unmodified guest uses its devices through the daemon exactly as through the kernel's backend.</summary>
[Collection(SharedMachines.Name)]
public class FirstLight(SharedMachines machines, ITestOutputHelper log)
{
    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_guest_sees_and_leaves_its_devices_as_under_the_kernels_backend(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable, Release.Parse(release));
        QemuDevice[] devices = [scenario.Devices.Card, scenario.Devices.Edu];
        Task<Snapshot> ObserveAsync(BackendKind backend) =>
            new Observation(scenario.DomainZero, devices, quick: true, TextWriter.Null).RunAsync(backend);

        var kernel = await ObserveAsync(BackendKind.Kernel);
        await scenario.GoToAsync(Moment.Serving);
        var daemon = await ObserveAsync(BackendKind.Daemon);
        var sections = new Comparison("kernel", kernel, "daemon", daemon).Sections();
        var report = new StringWriter();
        var differences = Report.Write(sections, report);
        log.WriteLine(report.ToString());
        Assert.True(differences == 0, report.ToString());

        var dom0 = scenario.DomainZero;
        var guest = await dom0.CreateGuestAsync("pv2", [.. devices.Select(device => device.Bdf)]);
        var lspci = await guest.RunAsync("lspci -n 2> /dev/null");
        Assert.Contains("8086:10d3", lspci);
        Assert.Contains("1234:11e8", lspci);

        await guest.ShutdownAsync();
        log.WriteLine(await dom0.DaemonLogAsync());
        Assert.Equal("", await dom0.RunAsync("xenstore-ls -f /local/domain/0/backend/pci 2> /dev/null || true"));
        Assert.Contains(await dom0.DaemonLogAsync(LogEvents.PageReleased), line => line.Guest == guest.DomainId);
        var released = await dom0.DaemonLogAsync(LogEvents.DeviceReleased);
        foreach (var device in devices)
            Assert.Contains(released, line => (line.Guest, line.Device) == (guest.DomainId, device.Bdf));
    }
}
