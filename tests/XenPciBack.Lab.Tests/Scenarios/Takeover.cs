using System.Globalization;
using XenPciBack.Backend;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// The daemon is killed again and again, and another one takes its guests over, while they read config space, take interrupts and send
/// packets. (The kernel's backend cannot do that at all: unloading the module ends every guest's connection.) Once with all tests;
/// LAB_KILLS says how often otherwise, and then a sixth of that without a standby.
/// </summary>
[Collection(SharedMachines.Name)]
public class Takeover(SharedMachines machines, ITestOutputHelper log)
{
    private const int MemoryMiB = 256;

    // To compare with: guests that share two emulated CPUs with dom0 wait for one at times.
    private static readonly TimeSpan Undisturbed = TimeSpan.FromSeconds(10);

    private static readonly int Kills = int.Parse(Environment.GetEnvironmentVariable("LAB_KILLS") ?? "1", CultureInfo.InvariantCulture);
    private static readonly int KillsAlone = Math.Max(1, Kills / 6);

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task No_operation_of_a_guest_fails_while_another_daemon_stands_by(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.ServingCard, Release.Parse(release));
        var (dom0, generators) = (scenario.DomainZero, scenario.Devices.Generators);

        Task<Guest> CreateAsync(string name, int generator) =>
            dom0.CreateGuestAsync(name, [generators[generator].Bdf], new GuestOptions { MemoryMiB = MemoryMiB });
        var card = dom0.GuestNamed(SharedMachine.CardGuest);
        var others = await Task.WhenAll(CreateAsync("first", 0), CreateAsync("second", 1));
        var (first, second) = (others[0], others[1]);
        Guest[] guests = [card, first, second];
        await card.LoadCardDriverAsync();
        await card.JoinNetworkAsync($"{SharedMachine.GuestAddress}/24", SharedMachine.Address);
        var states = await WatchStatesAsync(dom0, guests);
        // What Xen's own guide to best practices advises: guests that never pause leave dom0 a CPU when it wants one.
        await dom0.RunAsync("xl sched-credit2 -d 0 -w 4096");

        await BeginAsync(card, first, second);
        await Task.Delay(Undisturbed);
        log.WriteLine($"{Undisturbed.TotalSeconds} s without a kill:");
        await EndAsync(card, first, second, nothingFails: true);

        // The first one gets ready without the load, the others under it, which takes them a minute each.
        await dom0.StartStandbyAsync();
        await BeginAsync(card, first, second);
        for (var kill = 0; kill < Kills; kill++)
        {
            if (kill > 0) await dom0.StartStandbyAsync();
            await PauseAsync(dom0);
            await KillAsync(dom0);
        }
        log.WriteLine($"killed {Kills} times, with a standby (the kernel's module cannot be loaded again at all without ending every guest's connection):");
        await EndAsync(card, first, second, nothingFails: true);

        await dom0.StartStandbyAsync();
        await BeginAsync(card, first, second);
        log.WriteLine((await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback handover")).Trim());
        await FollowAsync(dom0);
        await EndAsync(card, first, second, nothingFails: true);

        await BeginAsync(card, first, second);
        for (var kill = 0; kill < KillsAlone; kill++)
        {
            await dom0.KillDaemonAsync();
            await dom0.RunAsync($"cat {DomainZero.DaemonLog} >> /var/log/alone.log");
            await dom0.StartDaemonAsync();
            await PauseAsync(dom0);
        }
        log.WriteLine($"killed {KillsAlone} times, without a standby, the next one started at once:");
        await EndAsync(card, first, second, nothingFails: false);

        log.WriteLine(await dom0.RunAsync($"cat /var/log/alone.log {DomainZero.DaemonLog}"));
        Assert.Equal("", await dom0.RunAsync($"sort {states} | uniq -c | grep -v ' 1 ' || true"));
    }

    private static async Task BeginAsync(Guest card, Guest first, Guest second)
    {
        await card.RunAsync("rm -f /tmp/stop /tmp/load.result /tmp/packets.*");
        foreach (var guest in (Guest[])[first, second]) await guest.RunAsync("rm -f /tmp/stop /tmp/load.result");
        await GuestLoad.BeginPacketsAsync(card, SharedMachine.Address);
        await GuestLoad.BeginAsync(first);
        await GuestLoad.BeginAsync(second);
    }

    private async Task EndAsync(Guest card, Guest first, Guest second, bool nothingFails)
    {
        var (sent, lost) = await GuestLoad.EndPacketsAsync(card);
        log.WriteLine($"{card.Name}: {sent} packets, {lost} not answered");
        Assert.InRange(sent, 1, int.MaxValue);
        // The last one may still have been on its way.
        Assert.InRange(lost, 0, 1);
        foreach (var guest in (Guest[])[card, first, second])
        {
            var load = await GuestLoad.EndAsync(guest);
            log.WriteLine($"{guest.Name}: {load}");
            Assert.InRange(load.Interrupts, 1, int.MaxValue);
            Assert.InRange(load.Reads, 1, int.MaxValue);
            if (nothingFails) Assert.Equal(0, load.GivenUp);
        }
    }

    // At any moment of what the guests are doing.
    private static async Task PauseAsync(DomainZero dom0) => await dom0.RunAsync("sleep $((RANDOM % 3)).$((RANDOM % 10))");

    /// <summary>Kills the daemon that serves, and waits until the next one has every guest's page.</summary>
    private async Task KillAsync(DomainZero dom0)
    {
        var killed = await dom0.RunAsync("date +%T.%3N; kill -9 $(< /run/xenpciback.pid)");
        await FollowAsync(dom0, $"killed at {killed.Trim()}: ");
    }

    private async Task FollowAsync(DomainZero dom0, string what = "")
    {
        await dom0.FollowTurnAsync();
        // Since its turn came.
        var since = $"tac {DomainZero.DaemonLog} | sed '/{LogLine.Pattern(LogEvents.TakingOver)}/q' | tac";
        const string HasLock = "[ \"$(cat /run/xenpciback/serving.lock)\" = \"$(< /run/xenpciback.pid)\" ]";
        await dom0.WaitUntilAsync("the next daemon to serve",
            $"{HasLock} && [ $({since} | grep -c '{LogLine.Pattern(LogEvents.PageMapped)}') = 3 ]");
        var said = LogLine.Parse(await dom0.RunAsync(since))
            .Where(line => line.Event is LogEvents.TakingOver or LogEvents.PageMapped);
        log.WriteLine(what + string.Join(", ", said.Select(line => $"{line.Event} at {line.At:hh\\:mm\\:ss\\.fff}")));
    }

    /// <summary>Notes every write of a state node in a file, a line each. A watch fires once when it is set.</summary>
    private static async Task<string> WatchStatesAsync(DomainZero dom0, Guest[] guests)
    {
        const string Notes = "/run/states";
        await dom0.RunAsync($"xenstore-watch {string.Join(' ', guests.SelectMany(guest => (string[])[$"{guest.BackendPath}/state", $"{guest.FrontendPath}/state"]))} > {Notes} 2>&1 &");
        return Notes;
    }
}
