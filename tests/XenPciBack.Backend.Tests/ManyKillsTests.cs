using System.Diagnostics;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;
using Xunit.Abstractions;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// A daemon that serves many guests is killed again and again, before each kind of call that it makes to the host and
/// at random moments, and the next one adopts the guests. Every operation of every guest is answered as if nothing had
/// been, and each finds its device as it left it. Each kind of kill happens with a standby that takes over and without one.
/// KILLS says how many kills, KILLS_GUESTS how many guests (20 at least), KILLS_SEED which order.
/// </summary>
[Collection(nameof(AloneInTheProcess))]
public class ManyKillsTests(ITestOutputHelper output)
{
    // Before which call the daemon is killed; null: before whatever it is at.
    private static readonly FaultPoint?[] Points =
    [
        FaultPoint.ConfigRead, FaultPoint.ConfigWrite, FaultPoint.DeviceOpen, FaultPoint.DeviceRecord,
        FaultPoint.DeviceReset, FaultPoint.GrantMap, FaultPoint.PortBind, FaultPoint.Notify, FaultPoint.Unmask,
        FaultPoint.PirqMap, FaultPoint.PirqUnmap, null,
    ];

    private readonly int _guestCount = ManyGuests.Number("KILLS_GUESTS", 24);

    [Fact]
    public async Task Guests_find_everything_as_they_left_it()
    {
        var kills = ManyGuests.Number("KILLS", 2 * Points.Length);
        var seed = ManyGuests.Number("KILLS_SEED", Random.Shared.Next());
        output.WriteLine($"KILLS={kills} KILLS_GUESTS={_guestCount} KILLS_SEED={seed}");
        var random = new Random(seed);
        await using var dom0 = await TestDom0.StartAsync();
        var workers = new List<Worker>();
        // One device more than guests, for one that comes and goes.
        for (var i = 0; i <= _guestCount; i++) dom0.Xen.Pci.Plug(Intel82574.At(ManyGuests.DeviceOf(i)).Resettable());
        for (var i = 0; i < _guestCount; i++)
        {
            HostBdf[] device = [ManyGuests.DeviceOf(i)];
            var guest = await dom0.Xen.CreateGuestAsync($"guest{i}", device, ManyGuests.Patient);
            workers.Add(new Worker(guest, random.Next()));
        }
        foreach (var worker in workers) await worker.Guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        foreach (var worker in workers) worker.Begin();

        var (waitedWithStandby, waitedAlone) = (new List<double>(), new List<double>());
        var number = 0;
        foreach (var (point, hasStandby) in InRandomOrder(random, kills))
        {
            var call = point?.ToString() ?? "whatever it is at";
            var how = $"kill {number++} (before {call}, {(hasStandby ? "a" : "no")} standby)";
            var standby = hasStandby ? await dom0.StartStandbyAsync() : null;
            foreach (var worker in workers) worker.TakeLongestWait();
            var visitor = await KillAsync(dom0, random, point, hasStandby);
            if (standby is not null) await dom0.LetTakeOverAsync(standby);
            else await dom0.RestartDaemonAsync();
            var before = workers.ConvertAll(worker => worker.Operations);
            foreach (var (worker, operations) in workers.Zip(before))
                await Eventually.IsTrueAsync(
                    () => worker.Operations > operations + 1 || worker.Fault is not null,
                    () => $"{how}: {worker.Guest.Name}");
            var faults = workers.Where(worker => worker.Fault is not null)
                .Select(worker => $"{worker.Guest.Name}: {worker.Fault}").ToList();
            Assert.True(faults.Count == 0, $"{how} of KILLS_SEED={seed}: {string.Join("; ", faults)}");
            Assert.All(workers, worker => Assert.Equal(4, worker.Guest.Frontend.State));
            (standby is null ? waitedAlone : waitedWithStandby).Add(workers.Max(worker => worker.TakeLongestWait()));
            if (visitor is not null)
            {
                await visitor.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
                await LeaveAsync(dom0, visitor);
            }
            await Eventually.EqualAsync(workers.Count, () => dom0.Xen.DeviceRecords.Count, how);
        }

        foreach (var worker in workers) await worker.EndAsync();
        output.WriteLine($"{workers.Sum(worker => worker.Operations)} operations");
        output.WriteLine("the guest that waited longest at a kill, from one answer to the next: "
            + $"{InWords(waitedWithStandby)} with a standby, {InWords(waitedAlone)} without");
        Assert.All(workers, worker => Assert.Equal(0, worker.Guest.Frontend.UnansweredRequests));
        foreach (var worker in workers) await dom0.Xen.DestroyGuestAsync(worker.Guest);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
    }

    /// <summary>Each kind of kill once, with a standby and without, then again in another order, and so on.</summary>
    private static IEnumerable<(FaultPoint? Point, bool HasStandby)> InRandomOrder(Random random, int count)
    {
        var round = Points.SelectMany(point => new[] { (point, true), (point, false) }).ToArray();
        for (var i = 0; i < count; i++)
        {
            if (i % round.Length == 0) random.Shuffle(round);
            yield return round[i % round.Length];
        }
    }

    private static string InWords(List<double> waited) => waited.Count == 0 ? "(none)"
        : string.Create(
            CultureInfo.InvariantCulture,
            $"{waited.Order().ElementAt(waited.Count / 2):0} ms (median), {waited.Max():0} ms (longest)");

    /// <returns>The guest that was being created when the daemon was killed, if there was one.</returns>
    private async Task<SimulatedGuest?> KillAsync(TestDom0 dom0, Random random, FaultPoint? point, bool hasStandby)
    {
        if (point is not { } call)
        {
            await Task.Delay(random.Next(20));
            dom0.Process.Kill();
            return null;
        }
        HostBdf[] device = [ManyGuests.DeviceOf(_guestCount)];
        SimulatedGuest? visitor = null;
        var isOfBeginning =
            call is FaultPoint.DeviceOpen or FaultPoint.DeviceRecord or FaultPoint.GrantMap or FaultPoint.PortBind;
        if (call == FaultPoint.DeviceReset)
            visitor = await dom0.ConnectedGuestAsync("visitor", device, ManyGuests.Patient);
        var isOfVisitor = (isOfBeginning && hasStandby) || call == FaultPoint.DeviceReset;
        using var death = dom0.Xen.Faults.Arm(
            call, FaultKind.Death, nth: isOfVisitor ? 1 : 1 + random.Next(20),
            process: hasStandby ? dom0.Process : null);
        if (isOfBeginning && hasStandby)
        {
            visitor = await dom0.Xen.CreateGuestAsync("visitor", device, ManyGuests.Patient);
        }
        else if (isOfBeginning)
        {
            // Without a standby it is the next daemon that is killed, while it adopts the guests.
            dom0.Process.Kill();
            await dom0.StopDaemonAsync();
            await dom0.BeginDaemonAsync();
        }
        else if (visitor is not null)
        {
            await LeaveAsync(dom0, visitor);
            visitor = null;
        }
        await Eventually.EqualAsync(1, () => death.Struck, $"{call}");
        return visitor;
    }

    /// <summary>The guest ends from one moment to the next, and its toolstack removes what there is of it.</summary>
    private static async Task LeaveAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        await dom0.Xen.CrashGuestAsync(guest);
        await dom0.Store.RemoveAsync(TestDom0.BackendOf(guest).Parent);
        await dom0.Xen.Toolstack.RemoveDomainAsync(guest.Id);
        dom0.Xen.XenStored.ReleaseDomain(guest.Id.Value);
    }

    /// <summary>A guest that uses its device without a pause and knows what it must find.</summary>
    private sealed class Worker(SimulatedGuest guest, int seed)
    {
        private const uint Bar0Size = 0xFFFE_0000;
        private const uint Decoding = 0x0003, Shadow = 0x0540;

        private readonly Random _random = new(seed);
        private readonly CancellationTokenSource _stop = new();
        private Task _working = Task.CompletedTask;
        private int _operations;
        private long _longestWait;
        private uint _command = 0x0006;
        private bool _showsSize;
        private bool _messages;

        public SimulatedGuest Guest => guest;

        public int Operations => Volatile.Read(ref _operations);

        /// <summary>The first answer that was not as it should be.</summary>
        public string? Fault { get; private set; }

        /// <summary>Forgets it, too.</summary>
        /// <returns>The longest time an operation took since it was asked for last, in ms.</returns>
        public double TakeLongestWait() =>
            Stopwatch.GetElapsedTime(0, Interlocked.Exchange(ref _longestWait, 0)).TotalMilliseconds;

        public void Begin() => _working = Task.Run(WorkAsync);

        public async Task EndAsync()
        {
            await _stop.CancelAsync();
            await _working;
        }

        private async Task WorkAsync()
        {
            try
            {
                var bar = await ReadAsync(Register.Bar(0));
                await WriteAsync(Register.Command, _command);
                while (!_stop.IsCancellationRequested && Fault is null)
                {
                    var began = Stopwatch.GetTimestamp();
                    await StepAsync(bar);
                    var took = Stopwatch.GetTimestamp() - began;
                    Interlocked.Exchange(ref _longestWait, Math.Max(Volatile.Read(ref _longestWait), took));
                    Interlocked.Increment(ref _operations);
                }
            }
            catch (Exception e)
            {
                Fault ??= e.Message;
            }
        }

        private async Task StepAsync(uint bar)
        {
            switch (_random.Next(8))
            {
                case 0:
                    // Bits that only the guest sees, and bus mastering; decoding stays on, or MSI-X would be refused.
                    _command = Decoding | (_random.Next(2) == 0 ? 0x0004u : 0) | ((uint)_random.Next() & Shadow);
                    await WriteAsync(Register.Command, _command);
                    break;
                case 1:
                    _showsSize = !_showsSize;
                    await WriteAsync(Register.Bar(0), _showsSize ? uint.MaxValue : bar);
                    break;
                case 2 when !_messages:
                    var device = guest.Device(0);
                    var isMsi = _random.Next(2) == 0;
                    var enabled = await (isMsi ? device.EnableMsiAsync() : device.EnableMsixAsync(0, 1, 2));
                    Expect("enable", 0, enabled.Error);
                    _messages = true;
                    break;
                case 2:
                    Expect("disable", 0, (await guest.Device(0).DisableMsiAsync()).Error);
                    _messages = false;
                    break;
                case 3:
                    Expect("command", _command & 0x0547, await ReadAsync(Register.Command) & 0x0547);
                    break;
                case 4:
                    Expect("BAR 0", _showsSize ? Bar0Size : bar, await ReadAsync(Register.Bar(0)));
                    break;
                default:
                    Expect("revision", NicRevision, await ReadAsync(Register.Revision));
                    break;
            }
        }

        private async Task<uint> ReadAsync(Register register)
        {
            var answer = await guest.Device(0).TryReadAsync(register);
            Expect($"read of {register}", 0, answer.Error);
            if (answer.TimedOut) Fault ??= $"read of {register} was not answered";
            return answer.Value;
        }

        private async Task WriteAsync(Register register, uint value) =>
            Expect($"write of {register}", 0, (await guest.Device(0).TryWriteAsync(register, value)).Error);

        private void Expect(string what, long expected, long actual)
        {
            if (actual != expected)
                Fault ??= string.Create(CultureInfo.InvariantCulture, $"{what} is {actual:x}, expected {expected:x}");
        }
    }
}
