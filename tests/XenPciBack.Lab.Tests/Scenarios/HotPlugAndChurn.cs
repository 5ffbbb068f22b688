using System.Globalization;
using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// Devices come and go and guests end in every way, under the unmodified xl; in the long form, LAB_PLUGS=100 LAB_CYCLES=17, its own times are
/// printed beside those it has with the kernel's backend. A cycle has each of the three guests end in another way.
/// </summary>
[Collection(SharedMachines.Name)]
public class HotPlugAndChurn(SharedMachines machines, ITestOutputHelper log)
{
    /// <summary>What libxl waits for a backend before it goes on without.</summary>
    private const int Stall = 10_000;

    // Those a daemon needs to have everything loaded that it is going to need.
    private const int WarmUp = 2;

    // In the short form the kernel's backend has no turn.
    private static BackendKind[] Backends(string setting) => Environment.GetEnvironmentVariable(setting) is null ? [BackendKind.Daemon] : [BackendKind.Daemon, BackendKind.Kernel];

    private static int Setting(string name, int usual) => int.Parse(Environment.GetEnvironmentVariable(name) ?? $"{usual}", CultureInfo.InvariantCulture);

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_device_is_attached_and_detached_again_and_again_and_nothing_is_left_behind(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving, Release.Parse(release));
        var (dom0, card) = (scenario.DomainZero, scenario.Devices.Card.Bdf);
        var plugs = Setting("LAB_PLUGS", 3);

        foreach (var backend in Backends("LAB_PLUGS"))
        {
            await dom0.UseAsync(backend);
            await using var guest = await dom0.CreateGuestAsync("pv1", [scenario.Devices.Generators[0].Bdf]);
            await Cycles.HotPlugAsync(dom0, guest, card, WarmUp);
            var (before, interrupts) = (await HoldingsAsync(dom0, backend), await InterruptListing.ReadAsync(dom0));
            var times = new ToolstackTimes();
            times.Add(await Cycles.HotPlugAsync(dom0, guest, card, plugs));
            log.WriteLine($"{backend}:\n{times}");
            if (backend == BackendKind.Kernel) continue;
            await AssertNoStallAsync(dom0, times, "LAB_PLUGS");
            Assert.Equal(interrupts, await InterruptListing.ReadAsync(dom0));
            AssertNothingLeft(before, await HoldingsAsync(dom0, backend));
            Assert.Equal("1\n", await guest.RunAsync("ls /sys/bus/pci/devices | wc -l"));
            await RebindAsync(dom0, guest);
        }
    }

    /// <summary>The guest's driver is unbound and bound again; under the kernel's backend it does not come back.</summary>
    private static async Task RebindAsync(DomainZero dom0, Guest guest)
    {
        await guest.RunAsync("echo pci-0 > /sys/bus/xen/drivers/pcifront/unbind; ls -A /sys/bus/pci/devices");
        await dom0.WaitUntilAsync("the connection to be offered again", $"[ \"$(xenstore-read {guest.BackendPath}/state)\" = 3 ]");
        await guest.RunAsync("""
            echo pci-0 > /sys/bus/xen/drivers/pcifront/bind
            for try in $(seq 300); do
                [ -n "$(ls -A /sys/bus/pci/devices)" ] && exit 0
                sleep 0.2
            done
            dmesg | tail -n 20; exit 1
            """);
        Assert.Equal("4\n", await dom0.RunAsync($"xenstore-read {guest.BackendPath}/state"));
    }

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task Guests_are_destroyed_reboot_and_crash_again_and_again_and_nothing_is_left_behind(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving, Release.Parse(release));
        var dom0 = scenario.DomainZero;
        var generators = scenario.Devices.Generators;
        var names = generators.Select((device, index) => (Name: $"pv{index + 1}", device.Bdf)).ToList();
        foreach (var (name, bdf) in names)
            await dom0.RunAsync(Guest.WriteConfiguration(name, [bdf], new GuestOptions { MemoryMiB = 256, OnCrash = "restart" }));
        var cycles = Setting("LAB_CYCLES", 1);

        foreach (var backend in Backends("LAB_CYCLES"))
        {
            await dom0.UseAsync(backend);
            var times = new ToolstackTimes();
            times.Add(await Cycles.CreateAsync(dom0, names.Select(guest => guest.Name)));
            Holdings? before = null;
            // Each guest has its turn at each of the three ends. A third of that is enough to compare with.
            for (var cycle = 0; cycle < (backend == BackendKind.Daemon ? cycles : (cycles + 2) / 3); cycle++)
            {
                times.Add(await Cycles.EndAsync(dom0, names[cycle % 3].Name, names[(cycle + 1) % 3].Name, names[(cycle + 2) % 3].Name));
                before ??= await HoldingsAsync(dom0, backend);
            }
            log.WriteLine($"{backend}:\n{times}");
            if (backend == BackendKind.Daemon)
            {
                await AssertNoStallAsync(dom0, times, "LAB_CYCLES");
                AssertNothingLeft(before, await HoldingsAsync(dom0, backend));
            }
            foreach (var (name, _) in names) await dom0.RunAsync($"xl destroy {name}");
            var left = await dom0.RunAsync("xenstore-list /local/domain/0/backend/pci 2> /dev/null || true");
            if (backend == BackendKind.Daemon) Assert.Equal("", left);
            else log.WriteLine($"left in xenstore: {left.ReplaceLineEndings(" ")}");
        }
    }

    private async Task<Holdings?> HoldingsAsync(DomainZero dom0, BackendKind backend)
    {
        if (backend == BackendKind.Kernel) return null;
        var holdings = await Holdings.ReadAsync(dom0);
        log.WriteLine($"{holdings}");
        return holdings;
    }

    /// <summary>
    /// libxl says when it has waited in vain. That nothing took ten seconds more than it can is looked at in the long form only, where there is enough to compare with.
    /// </summary>
    private static async Task AssertNoStallAsync(DomainZero dom0, ToolstackTimes times, string longForm)
    {
        Assert.Equal("", await dom0.RunAsync("grep -h 'not ready' /run/said.* /var/log/xen/xl-*.log 2> /dev/null || true"));
        if (Environment.GetEnvironmentVariable(longForm) is not null) Assert.InRange(times.LongestDelay, 0, Stall - 1);
    }

    private static void AssertNothingLeft(Holdings? before, Holdings? after)
    {
        // The thread pool makes threads and ends them, and the memory of a collected heap is not to the byte.
        Assert.Equal(before! with { Threads = 0, MemoryKiB = 0 }, after! with { Threads = 0, MemoryKiB = 0 });
        Assert.InRange(after!.MemoryKiB, 0, before!.MemoryKiB * 11 / 10);
    }
}
