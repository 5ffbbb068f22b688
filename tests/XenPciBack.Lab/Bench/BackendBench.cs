using System.Globalization;
using System.Text;
using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Bench;

/// <summary>
/// The daemon and the kernel's backend in one boot. Each serves a guest that runs all the time; one card is attached to
/// the one guest and to the other in turn, and has everything measured there. The daemon stands still (SIGSTOP) while
/// the kernel's backend has its turn, so that its idle work takes no processor from it.
/// </summary>
/// <param name="driver">The card's driver in the guest.</param>
/// <param name="rounds">How many turns each backend has.</param>
internal sealed class BackendBench(XenMachine machine, string driver, int rounds, TextWriter progress)
{
    /// <summary>The config reads of a round: one for each four bytes of a PCI Express device.</summary>
    public const int ReadsPerRound = 1024;

    /// <summary>
    /// dom0's clock source. Left alone, the kernel begins with tsc, which processes read without a system call, and at
    /// some time finds it unstable under emulation: then what a read costs changes in the middle of a run.
    /// </summary>
    public const string Clock = "xen";

    private const string ClockSource = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    /// <summary>How often a guest gets the card in a turn.</summary>
    private const int Visits = 2;

    /// <summary>How many rounds of config reads there are in a visit.</summary>
    private const int ReadRounds = 2;

    private const int BusyLoops = 6;

    private const string Autoprobe = "/sys/bus/xen-backend/drivers_autoprobe";

    private static readonly Quantity ConfigRead = new("config read", "us");
    private static readonly Quantity Loop = new("the loop around it, taken off", "us");
    private static readonly Quantity ConfigReadUnderLoad = new($"config read, {BusyLoops} busy loops in dom0", "us");
    private static readonly Quantity Enumeration = new("enumeration (rescan of the guest's bus)", "ms");
    private static readonly Quantity DriverLoad = new("driver load (modprobe in the guest)", "ms");
    private static readonly Quantity Create = new("xl create", "ms");
    private static readonly Quantity CreateToDevice = new("xl create to the guest's device seen", "ms");
    private static readonly Quantity Attach = new("xl pci-attach", "ms");
    private static readonly Quantity Detach = new("xl pci-detach", "ms");

    private static readonly Quantity[] InOrder =
        [ConfigRead, Loop, ConfigReadUnderLoad, Enumeration, DriverLoad, Create, CreateToDevice, Attach, Detach];

    /// <summary>For what takes seconds; each lost operation adds two.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly DomainZero _dom0 = machine.DomainZero;
    private readonly string _card = machine.Devices[0].Bdf;

    /// <summary>What a machine boots with: the card, and for each guest a device that keeps it connected.</summary>
    public static string[] DevicesFor(string card) => [card, "edu", "edu"];

    /// <param name="itself">A check of the bench: the kernel's backend serves both guests.</param>
    public async Task<BenchResult> RunAsync(BenchSetting setting, bool itself)
    {
        // The kernel ignores the name of a source that it does not have.
        await _dom0.RunAsync($"echo {Clock} > {ClockSource} && grep -qx {Clock} {ClockSource}");
        await _dom0.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
        await _dom0.UseAsync(BackendKind.Kernel);
        await using var first = await CreateGuestAsync("pv1", machine.Devices[1]);
        if (!itself) await _dom0.UseAsync(BackendKind.Daemon);
        await using var second = await CreateGuestAsync("pv2", machine.Devices[2]);
        var kernel = new Side("kernel", BackendKind.Kernel, first) { PauseDaemon = !itself };
        var ours = itself
            ? new Side("kernel again", BackendKind.Kernel, second)
            : new Side("daemon", BackendKind.Daemon, second);
        await _dom0.RunAsync(Guest.WriteConfiguration("pv3", [_card], new GuestOptions()));

        progress.WriteLine("to warm up:");
        Side[] sides = [kernel, ours];
        foreach (var side in sides) await TakeTurnAsync(side, () => VisitAsync(side, countSystemCalls: false));
        foreach (var side in sides) side.Forget();
        for (var round = 1; round <= rounds; round++)
        {
            progress.WriteLine($"round {round} of {rounds}:");
            foreach (var side in sides) await TakeTurnAsync(side, () => MeasureAsync(side));
        }
        var readsWithCalls = rounds * ReadsPerRound;
        return new BenchResult(setting, ours.Name,
            [.. InOrder.Select(what => new Measure(what.Name, what.Unit, kernel.Values(what), ours.Values(what)))],
            [
                new LostOperations("dom0 idle", kernel.Lost, ours.Lost),
                new LostOperations($"{BusyLoops} busy loops in dom0", kernel.LostUnderLoad, ours.LostUnderLoad),
            ],
            itself ? null : DataPlaneCost.Of(ours.ThreadTimes, ReadsPerRound, ours.SystemCalls, readsWithCalls));
    }

    private async Task<Guest> CreateGuestAsync(string name, QemuDevice device)
    {
        var guest = await _dom0.CreateGuestAsync(name, [device.Bdf]);
        var script = Encoding.UTF8.GetString(Initramfs.Script("bench.pl"));
        await guest.RunAsync($"cat > /tmp/bench.pl << 'END'\n{script}END\n");
        return guest;
    }

    /// <summary>Meanwhile new guests are served by this side's backend.</summary>
    private async Task TakeTurnAsync(Side side, Func<Task> work)
    {
        if (side.PauseDaemon) await _dom0.RunAsync($"kill -STOP $(< /run/xenpciback.pid) && echo 1 > {Autoprobe}");
        await work();
        if (side.PauseDaemon) await _dom0.RunAsync($"echo 0 > {Autoprobe} && kill -CONT $(< /run/xenpciback.pid)");
    }

    private async Task MeasureAsync(Side side)
    {
        for (var visit = 0; visit < Visits; visit++) await VisitAsync(side, countSystemCalls: visit == 0);
        await CreateAsync(side);
    }

    /// <summary>The guest gets the card, uses it, and gives it back.</summary>
    private async Task VisitAsync(Side side, bool countSystemCalls)
    {
        await AttachAsync(side);
        for (var round = 0; round < ReadRounds; round++) await ReadAsync(side);
        if (countSystemCalls && side.Backend == BackendKind.Daemon) await CountSystemCallsAsync(side);
        await ReadUnderLoadAsync(side);
        await LoadDriverAsync(side);
        // Last: the rescan has the guest move the device's BARs, which the backend does not let it do, and no driver of
        // the guest can use the device after that.
        Add(side, Enumeration, await InGuestAsync(side, $"rescan {side.Card}", "rescan") / 1e6);
        Add(side, Detach, await TimeAsync($"timed detach xl pci-detach {side.Guest.Name} {_card}"));
    }

    private async Task AttachAsync(Side side)
    {
        Add(side, Attach, await TimeAsync($"timed attach xl pci-attach {side.Guest.Name} {_card}"));
        // The device that the guest was created with has the first slot.
        side.Card = (await side.Guest.RunAsync("""
            for try in $(seq 100); do
                ls /sys/bus/pci/devices | grep -v '^0000:00:00.0$' && exit 0
                sleep 0.2
            done
            echo 'the guest sees no second device:'; ls /sys/bus/pci/devices; dmesg | tail -n 20; exit 1
            """)).Trim();
    }

    private async Task ReadAsync(Side side)
    {
        var (lost, threads) = (await LostAsync(side), await ThreadTimesAsync(side));
        var (read, loop) = await ReadRoundAsync(side);
        side.ThreadTimes.Add(ThreadTime.Between(threads, await ThreadTimesAsync(side)));
        side.Lost.Add(await LostAsync(side) - lost);
        Add(side, ConfigRead, read);
        Add(side, Loop, loop);
    }

    /// <summary>In a round that is not timed.</summary>
    private async Task CountSystemCallsAsync(Side side)
    {
        await _dom0.RunAsync(SystemCalls.Begin);
        await ReadRoundAsync(side);
        var calls = SystemCalls.Parse(await _dom0.RunAsync(SystemCalls.End));
        var threads = (await ThreadTimesAsync(side)).Select(thread => thread.Id).ToHashSet();
        side.SystemCalls.AddRange(calls.Where(call => threads.Contains(call.ThreadId)));
    }

    private async Task ReadUnderLoadAsync(Side side)
    {
        var lost = await LostAsync(side);
        await _dom0.RunAsync($$"""
            for loop in $(seq {{BusyLoops}}); do
                bash -c 'while true; do :; done' > /dev/null 2>&1 &
                echo $!
            done > /run/busy-loops
            """);
        Add(side, ConfigReadUnderLoad, (await ReadRoundAsync(side)).Read);
        await _dom0.RunAsync("kill $(< /run/busy-loops)");
        side.LostUnderLoad.Add(await LostAsync(side) - lost);
    }

    private async Task LoadDriverAsync(Side side)
    {
        Add(side, DriverLoad, await InGuestAsync(side, $"run modprobe {driver}", "run") / 1e6);
        await side.Guest.RunAsync($"[ -e /sys/bus/pci/devices/{side.Card}/driver ] && rmmod {driver}");
    }

    /// <summary>A third guest gets the card at its creation, and is destroyed as soon as it sees it.</summary>
    private async Task CreateAsync(Side side)
    {
        var said = await _dom0.RunAsync($$"""
            {{Cycles.Functions}}
            created=$(now)
            timed create xl create /run/pv3.cfg
            frontend=/local/domain/$(xl domid pv3)/device/pci/0
            waits 'the guest to see its device' '[ "$(xenstore-read $frontend/state)" = 4 ]'
            echo seen $(( $(now) - created ))
            xl destroy pv3
            """, Patience);
        Add(side, Create, ToolstackTimes.Single(said, "create"));
        Add(side, CreateToDevice, ToolstackTimes.Single(said, "seen"));
    }

    /// <returns>The time of one xl in dom0, in ms.</returns>
    private async Task<double> TimeAsync(string timed) =>
        ToolstackTimes.Single(await _dom0.RunAsync($"{Cycles.Functions}{timed}", Patience), timed.Split(' ')[1]);

    /// <returns>Microseconds for each read without the loop around it, and for the loop.</returns>
    private static async Task<(double Read, double Loop)> ReadRoundAsync(Side side)
    {
        var config = $"/sys/bus/pci/devices/{side.Card}/config";
        var times = GuestTimes.Parse(await RunInGuestAsync(side, $"reads {config} {ReadsPerRound}"));
        var (reads, loop) = (times["reads"] / 1e3 / ReadsPerRound, times["empty"] / 1e3 / ReadsPerRound);
        return (reads - loop, loop);
    }

    /// <returns>Nanoseconds.</returns>
    private static async Task<long> InGuestAsync(Side side, string arguments, string what) =>
        GuestTimes.Parse(await RunInGuestAsync(side, arguments))[what];

    private static Task<string> RunInGuestAsync(Side side, string arguments) =>
        side.Guest.RunAsync($"perl /tmp/bench.pl {arguments}", Patience);

    /// <returns>How many operations the guest has given up since it booted.</returns>
    private static async Task<int> LostAsync(Side side) => int.Parse(
        await side.Guest.RunAsync("dmesg | grep -c 'pciback not responding' || true"), CultureInfo.InvariantCulture);

    private async Task<IReadOnlyList<ThreadTime>> ThreadTimesAsync(Side side) => side.Backend == BackendKind.Kernel ? []
        // A thread that ends meanwhile is no failure.
        : ThreadTime.Parse(await _dom0.RunAsync("cat /proc/$(< /run/xenpciback.pid)/task/*/stat 2> /dev/null || true"));

    private void Add(Side side, Quantity quantity, double value)
    {
        progress.WriteLine($"  {side.Name}: {quantity.Name} {value:0} {quantity.Unit}");
        side.Values(quantity).Add(value);
    }

    private sealed record Quantity(string Name, string Unit);

    /// <summary>A backend, its guest, and what was measured there.</summary>
    private sealed class Side(string name, BackendKind backend, Guest guest)
    {
        private readonly Dictionary<Quantity, List<double>> _values = [];

        public string Name => name;

        public BackendKind Backend => backend;

        public Guest Guest => guest;

        /// <summary>Whether the daemon stands still in this side's turns.</summary>
        public bool PauseDaemon { get; init; }

        /// <summary>Where the guest sees the card while it has it.</summary>
        public string Card { get; set; } = "";

        /// <summary>Operations that the guest gave up, in each round of reads.</summary>
        public List<int> Lost { get; } = [];

        public List<int> LostUnderLoad { get; } = [];

        /// <summary>What the daemon's threads worked, in each round of reads.</summary>
        public List<IReadOnlyList<ThreadTime>> ThreadTimes { get; } = [];

        /// <summary>The daemon's system calls in the rounds that counted them.</summary>
        public List<SystemCallCount> SystemCalls { get; } = [];

        public List<double> Values(Quantity quantity) =>
            _values.TryGetValue(quantity, out var values) ? values : _values[quantity] = [];

        /// <summary>What was measured so far was to warm up.</summary>
        public void Forget()
        {
            _values.Clear();
            Lost.Clear();
            LostUnderLoad.Clear();
            ThreadTimes.Clear();
            SystemCalls.Clear();
        }
    }
}
