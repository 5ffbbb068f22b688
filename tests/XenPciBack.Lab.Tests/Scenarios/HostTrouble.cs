using System.Globalization;
using XenPciBack.Backend;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// What happens to dom0 while guests work: its clock is set, the daemon may open no more files, everything stands still for a while as when dom0 is suspended,
/// and the real xenstored is replaced by another one, with what it knew and without.
/// </summary>
[Collection(SharedMachines.Name)]
public class HostTrouble(SharedMachines machines, ITestOutputHelper log)
{
    // Of the one that was booted with; only the C xenstored can be updated live.
    private const string Executable = "$(readlink /proc/$(< /run/xenstored.pid)/exe)";

    private static readonly int Updates = int.Parse(Environment.GetEnvironmentVariable("LAB_UPDATES") ?? "3", CultureInfo.InvariantCulture);

    [LabFact]
    public async Task Guests_notice_neither_the_clock_nor_a_limit_nor_an_update_of_xenstored_and_go_on_after_a_suspension_and_when_xenstored_has_lost_everything()
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving);
        var (dom0, generators, spare) = (scenario.DomainZero, scenario.Devices.Generators, scenario.Devices.Edu.Bdf);
        var guests = await Task.WhenAll(
            dom0.CreateGuestAsync("first", [generators[0].Bdf]), dom0.CreateGuestAsync("second", [generators[1].Bdf]));
        var first = guests[0];

        foreach (var guest in guests) await GuestLoad.BeginAsync(guest);
        foreach (var jump in (string[])["+40 days", "-80 days", "+40 days"]) await dom0.RunAsync($"date -s \"$(date -d '{jump}')\"; sleep 3");
        await LimitFilesAsync(dom0, first, spare);
        for (var update = 0; update < Updates; update++) await UpdateAsync(dom0, first, spare, isAttached: update % 2 == 0);
        await EndAsync("clock, limit, live updates", guests, isNoticed: false);

        foreach (var guest in guests) await GuestLoad.BeginAsync(guest);
        await dom0.RunAsync("kill -STOP $(< /run/xenpciback.pid); sleep 10; kill -CONT $(< /run/xenpciback.pid); sleep 3");
        await EndAsync("stood still for 10 s", guests, isNoticed: true);

        foreach (var guest in guests) await GuestLoad.BeginAsync(guest);
        await KillAsync(dom0);
        await EndAsync("xenstored killed", guests, isNoticed: false);

        // The toolstack has lost its own notes as well.
        foreach (var guest in guests) await dom0.TryRunAsync($"xl destroy {guest.DomainId}");
        await dom0.WaitUntilAsync("every device to be given back", "[ -z \"$(ls /run/xenpciback/devices)\" ]");
        log.WriteLine(await dom0.DaemonLogAsync());
    }

    private async Task EndAsync(string trouble, Guest[] guests, bool isNoticed)
    {
        foreach (var guest in guests)
        {
            var load = await GuestLoad.EndAsync(guest);
            log.WriteLine($"{trouble}: {guest.Name}: {load}");
            if (!isNoticed) Assert.Equal(0, load.GivenUp);
            Assert.InRange(load.Reads, 1, int.MaxValue);
            await guest.RunAsync("rm -f /tmp/stop /tmp/load.result; dmesg -c > /dev/null");
        }
    }

    /// <summary>A daemon that is close to its limit refuses a device, and gives it when the limit has been raised.</summary>
    private async Task LimitFilesAsync(DomainZero dom0, Guest guest, string device)
    {
        const string Daemon = "$(< /run/xenpciback.pid)";
        await dom0.RunAsync($"prlimit --pid {Daemon} --nofile=$(($(ls /proc/{Daemon}/fd | grep -c .) + 40)):4096");
        log.WriteLine((await dom0.TryRunAsync($"xl pci-attach {guest.Name} {device} 2>&1", TimeSpan.FromMinutes(2))).Output);
        var error = $"/local/domain/0/error/backend/pci/{guest.DomainId}/0/error";
        await dom0.WaitUntilAsync("the device to be refused", $"xenstore-exists {error}");
        Assert.Matches($"^22 {device}: this daemon has .* of at most .* file descriptors open", await dom0.RunAsync($"xenstore-read {error}"));
        await dom0.RunAsync($"prlimit --pid {Daemon} --nofile=4096:4096; xl pci-detach {guest.Name} {device}");
    }

    /// <summary>While the toolstack gives a device or takes it away.</summary>
    private static async Task UpdateAsync(DomainZero dom0, Guest guest, string device, bool isAttached)
    {
        await dom0.RunAsync($"""
            xl pci-{(isAttached ? "attach" : "detach")} {guest.Name} {device} > /run/change.log 2>&1 & change=$!
            xenstore-control live-update -t 60 {Executable} || exit
            wait $change || (cat /run/change.log; false)
            """, TimeSpan.FromMinutes(3));
        await guest.RunAsync($"for try in $(seq 300); do [ \"$(ls /sys/bus/pci/devices | grep -c :)\" = {(isAttached ? 2 : 1)} ] && exit 0; sleep 0.2; done; exit 1");
    }

    private static async Task KillAsync(DomainZero dom0)
    {
        await dom0.RunAsync($"""
            executable={Executable}
            kill -9 $(< /run/xenstored.pid)
            sleep 3
            rm -f /run/xenstored.pid /var/lib/xenstored/tdb
            $executable --pid-file /run/xenstored.pid
            """);
        await dom0.WaitForLogAsync(LogEvents.GuestForgotten, count: 2);
    }
}
