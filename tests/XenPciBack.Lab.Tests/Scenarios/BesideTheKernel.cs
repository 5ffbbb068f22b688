using System.Text.Json;
using XenPciBack.Backend;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>The daemon comes to a host whose guests the kernel's backend serves, takes them over on request, and goes again.</summary>
[Collection(SharedMachines.Name)]
public class BesideTheKernel(SharedMachines machines, ITestOutputHelper log)
{
    private const string Autoprobe = "/sys/bus/xen-backend/drivers_autoprobe";

    [LabFact]
    public async Task A_guest_of_the_kernels_backend_is_left_alone_taken_over_on_request_and_let_go_of_for_good()
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable);
        var dom0 = scenario.DomainZero;
        string[] devices = [scenario.Devices.Card.Bdf, scenario.Devices.Edu.Bdf];
        await dom0.UseAsync(BackendKind.Kernel);
        var guest = await dom0.CreateGuestAsync("pv1", devices);
        Task<string> IdsAsync() => guest.RunAsync("cat /sys/bus/pci/devices/*/device 2> /dev/null || true");
        const string ByBoth = "0x10d3\n0x11e8\n";

        await dom0.StartDaemonAsync();
        Assert.Contains(await dom0.DaemonLogAsync(LogEvents.LeftToKernel), left => left.Guest == guest.DomainId
            && left.Text.Contains($"xenpciback take {guest.DomainId}", StringComparison.Ordinal));
        Assert.Equal("0\n", await dom0.RunAsync($"cat {Autoprobe}"));
        Assert.Equal(("4\n", ByBoth), (await dom0.RunAsync($"xenstore-read {guest.BackendPath}/state"), await IdsAsync()));

        log.WriteLine(await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback take pv1"));
        await dom0.WaitUntilAsync("the guest to be connected", $"[ \"$(xenstore-read {guest.BackendPath}/state)\" = 4 ]");
        await guest.RunAsync("for try in $(seq 100); do [ \"$(ls /sys/bus/pci/devices | grep -c :)\" = 2 ] && exit 0; sleep 0.2; done; dmesg | tail -n 20; exit 1");
        Assert.Equal(ByBoth, await IdsAsync());
        Assert.Contains(await dom0.DaemonLogAsync(LogEvents.DeviceGiven),
            given => (given.Guest, given.Device) == (guest.DomainId, devices[1]));

        var listed = await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback list");
        log.WriteLine(listed);
        Assert.Matches($@"(?m)^{devices[0]}  0200  8086:10d3  guest pv1 \(1\)$", listed);
        Assert.Matches("(?m)^0000:00:1f.2  0106  .*driver ahci; / is mounted from ", listed);

        await AssertStatusAsync(dom0, guest);
        await AssertOtherBackendsServeAsync(dom0);

        log.WriteLine(await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback drain"));
        await dom0.WaitUntilAsync("the daemon to have ended", "! kill -0 $(< /run/xenpciback.pid) 2> /dev/null");
        log.WriteLine(await dom0.DaemonLogAsync());
        Assert.Equal("1\n", await dom0.RunAsync($"cat {Autoprobe}"));
        Assert.Equal("", await dom0.RunAsync("find /run/udev/rules.d /run/xenpciback/devices -type f"));
        Assert.Equal("", (await IdsAsync()).Trim());
        Assert.Matches(@"pv1 +1 ", await dom0.RunAsync("xl list"));
    }

    /// <summary>What a script in dom0 reads of the guest.</summary>
    private async Task AssertStatusAsync(DomainZero dom0, Guest guest)
    {
        var said = await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback status pv1 --json");
        log.WriteLine(said);
        using var status = JsonDocument.Parse(said);
        var shown = Assert.Single(status.RootElement.GetProperty("guests").EnumerateArray());
        Assert.Equal((guest.DomainId, "pv1", "connected"), (shown.GetProperty("domain").GetInt32(), shown.GetProperty("name").GetString(), shown.GetProperty("state").GetString()));
        Assert.Equal(guest.Bdfs, shown.GetProperty("devices").EnumerateArray().Select(device => device.GetProperty("device").GetString()));
        Assert.InRange(shown.GetProperty("operations").EnumerateArray().Sum(operation => operation.GetProperty("count").GetInt64()), 1, long.MaxValue);
    }

    /// <summary>xl create waits for the backends of disk and network card, and fails if no driver of dom0 takes them. What their scripts would do is of no interest here.</summary>
    private static async Task AssertOtherBackendsServeAsync(DomainZero dom0)
    {
        await dom0.RunAsync("modprobe -a loop xen-blkback xen-netback; udevadm settle");
        const string DiskAndCard = """
            disk = ["script=/bin/true,vdev=xvda,target=/dev/loop0"]
            vif = ["script=/bin/true"]
            """;
        var options = new GuestOptions { MemoryMiB = 256, Configuration = DiskAndCard };
        var other = await dom0.CreateGuestAsync("other", [], options);
        Assert.Equal("vbd\nvif\n", await dom0.RunAsync($"for device in /sys/bus/xen-backend/devices/v??-{other.DomainId}-*; do basename $(readlink $device/driver); done"));
    }
}
