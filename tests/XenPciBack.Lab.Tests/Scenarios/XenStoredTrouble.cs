using System.Globalization;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>The real xenstored is replaced by another one while guests work, with what it knew and without.</summary>
public class XenStoredTrouble(ITestOutputHelper log)
{
    private const string Generator = "virtio-rng-pci:disable-legacy=on";

    // Of the one that was booted with; only the C xenstored can be updated live.
    private const string Executable = "$(readlink /proc/$(< /run/xenstored.pid)/exe)";

    private static readonly int Updates = int.Parse(Environment.GetEnvironmentVariable("LAB_UPDATES") ?? "3", CultureInfo.InvariantCulture);

    [LabFact]
    public async Task Live_updates_under_load_cost_nothing_and_when_it_is_killed_and_comes_back_without_anything_guests_go_on_until_their_end()
    {
        await using var machine = await XenMachine.BootAsync(Release.Bookworm, [Generator, Generator, "edu"], await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;
        await dom0.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
        await dom0.UseAsync(Backend.Daemon);
        await using var first = await dom0.CreateGuestAsync("first", [machine.Devices[0].Bdf]);
        await using var second = await dom0.CreateGuestAsync("second", [machine.Devices[1].Bdf]);
        Guest[] guests = [first, second];
        foreach (var guest in guests) await GuestLoad.BeginAsync(guest);

        for (var update = 0; update < Updates; update++) await UpdateAsync(dom0, first, machine.Devices[2].Bdf, isAttached: update % 2 == 0);
        await KillAsync(dom0);
        foreach (var guest in guests)
        {
            var load = await GuestLoad.EndAsync(guest);
            log.WriteLine($"{guest.Name}: {load}");
            Assert.Equal(0, load.GivenUp);
        }

        // The toolstack has lost its own notes as well.
        foreach (var guest in guests) await dom0.TryRunAsync($"xl destroy {guest.DomainId}");
        await dom0.WaitUntilAsync("every device to be given back", "[ -z \"$(ls /run/xenpciback/devices)\" ]");
        log.WriteLine(await dom0.DaemonLogAsync());
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
        await dom0.WaitUntilAsync("the daemon to have noticed", $"[ $(grep -c 'is served until it ends' {DomainZero.DaemonLog}) = 2 ]");
    }
}
