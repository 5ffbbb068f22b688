using System.Diagnostics;
using System.Globalization;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;
using Xunit.Abstractions;

namespace XenPciBack.Actors.Tests;

/// <summary>
/// A daemon that serves a hundred guests is killed again and again, before each kind of call that it makes to the host and at random
/// moments, and the next one takes the guests up. Every operation of every guest is answered as if nothing had been, and each finds its device
/// as it left it. Every other time a standby takes over. KILLS says how often (50, so that all tests together take less than an hour), KILLS_SEED which.
/// </summary>
public class ManyKillsTests(ITestOutputHelper output) : ManyGuestsTest
{
    private const int GuestCount = 100;

    private static readonly FaultPoint[] Points =
    [
        FaultPoint.ConfigRead, FaultPoint.ConfigWrite, FaultPoint.DeviceOpen, FaultPoint.DeviceRecord, FaultPoint.DeviceReset, FaultPoint.GrantMap, FaultPoint.PortBind,
        FaultPoint.Notify, FaultPoint.Unmask, FaultPoint.PirqMap, FaultPoint.PirqUnmap,
    ];

    [Fact]
    public async Task Guests_find_everything_as_they_left_it()
    {
        var (kills, seed) = (Number("KILLS", 50), Number("KILLS_SEED", Random.Shared.Next()));
        output.WriteLine($"KILLS={kills} KILLS_SEED={seed}");
        var random = new Random(seed);
        for (var i = 0; i < GuestCount; i++) Xen.Pci.Plug(Intel82574.At(DeviceOf(i)).Resettable());
        var workers = new List<Worker>();
        for (var i = 0; i < GuestCount; i++) workers.Add(new Worker(await Xen.CreateGuestAsync($"guest{i}", [DeviceOf(i)], Patient), random.Next()));
        foreach (var worker in workers) await worker.Guest.Frontend.WaitUntilConnectedAsync(Soon());
        foreach (var worker in workers) worker.Begin();

        var (waitedWithStandby, waitedAlone) = (new List<double>(), new List<double>());
        var struck = new SortedDictionary<string, int>(StringComparer.Ordinal);
        for (var kill = 0; kill < kills; kill++)
        {
            var standby = kill % 2 == 0 ? await StartStandbyAsync() : null;
            foreach (var worker in workers) worker.TakeLongestWait();
            var how = await KillAsync(random, isAlone: standby is null);
            struck[how] = struck.GetValueOrDefault(how) + 1;
            if (standby is not null)
            {
                await LetTakeOverAsync(standby);
            }
            else
            {
                await StopBackendAsync();
                await StartBackendAsync();
            }
            var before = workers.ConvertAll(worker => worker.Operations);
            foreach (var (worker, operations) in workers.Zip(before)) await EventuallyAsync(true, () => worker.Operations > operations + 1 || worker.Fault is not null);
            var faults = workers.Where(worker => worker.Fault is not null).Select(worker => $"{worker.Guest.Name}: {worker.Fault}");
            Assert.True(!faults.Any(), $"kill {kill} ({how}) of KILLS_SEED={seed}: {string.Join("; ", faults)}");
            Assert.All(workers, worker => Assert.Equal(4, worker.Guest.Frontend.State));
            (standby is null ? waitedAlone : waitedWithStandby).Add(workers.Max(worker => worker.TakeLongestWait()));
        }

        foreach (var worker in workers) await worker.EndAsync();
        output.WriteLine($"{workers.Sum(worker => worker.Operations)} operations; killed before: {string.Join(", ", struck.Select(count => $"{count.Key} {count.Value}"))}");
        output.WriteLine($"the guest that waited longest at a kill, from one answer to the next: {InWords(waitedWithStandby)} with a standby, {InWords(waitedAlone)} without");
        Assert.All(workers, worker => Assert.Equal(0, worker.Guest.Frontend.UnansweredRequests));
        foreach (var worker in workers) await Xen.DestroyGuestAsync(worker.Guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
    }

    private static string InWords(List<double> waited) => waited.Count == 0 ? "(none)"
        : string.Create(CultureInfo.InvariantCulture, $"{waited.Order().ElementAt(waited.Count / 2):0} ms (median), {waited.Max():0} ms (longest)");

    /// <returns>Before which call, if it came to one.</returns>
    private async Task<string> KillAsync(Random random, bool isAlone)
    {
        var point = random.Next(Points.Length + 1);
        if (point == Points.Length)
        {
            await Task.Delay(random.Next(20));
            Process.Kill();
            return "whatever it was at";
        }
        using var fault = Xen.Faults.Arm(Points[point], FaultKind.Death, nth: 1 + random.Next(20), process: isAlone ? null : Process);
        // Some calls are made only while guests are taken up: then it is the next daemon that is killed.
        if (isAlone && Points[point] is FaultPoint.DeviceOpen or FaultPoint.DeviceRecord or FaultPoint.GrantMap or FaultPoint.PortBind)
        {
            Process.Kill();
            await StopBackendAsync();
            await BeginBackendAsync();
        }
        for (var tries = 0; tries < 200 && fault.Struck == 0; tries++) await Task.Delay(5);
        if (fault.Struck > 0) return Points[point].ToString();
        Process.Kill();
        return "whatever it was at";
    }

    /// <summary>A guest that uses its device without a pause and knows what it must find.</summary>
    private sealed class Worker(SimulatedGuest guest, int seed)
    {
        private const int Command = 0x04, Bar0 = 0x10, Revision = 0x08;
        private const uint NicRevision = 0x0200_0000, Bar0Size = 0xFFFE_0000;
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
        public double TakeLongestWait() => Stopwatch.GetElapsedTime(0, Interlocked.Exchange(ref _longestWait, 0)).TotalMilliseconds;

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
                var bar = await ReadAsync(Bar0);
                await WriteAsync(Command, 2, _command);
                while (!_stop.IsCancellationRequested && Fault is null)
                {
                    var began = Stopwatch.GetTimestamp();
                    await StepAsync(bar);
                    Interlocked.Exchange(ref _longestWait, Math.Max(Volatile.Read(ref _longestWait), Stopwatch.GetTimestamp() - began));
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
                    // The bits that only the guest sees, and bus mastering; decoding stays on, or MSI-X would be refused.
                    _command = Decoding | (_random.Next(2) == 0 ? 0x0004u : 0) | ((uint)_random.Next() & Shadow);
                    await WriteAsync(Command, 2, _command);
                    break;
                case 1:
                    _showsSize = !_showsSize;
                    await WriteAsync(Bar0, 4, _showsSize ? uint.MaxValue : bar);
                    break;
                case 2 when !_messages:
                    var enabled = _random.Next(2) == 0 ? await AskAsync(guest, EnableMsi) : await EnableMsixAsync(guest, 0, 1, 2);
                    Expect("enable", 0, enabled.Error);
                    _messages = true;
                    break;
                case 2:
                    Expect("disable", 0, (await AskAsync(guest, DisableMsi)).Error);
                    _messages = false;
                    break;
                case 3:
                    Expect("command", _command & 0x0547, await ReadAsync(Command, 2) & 0x0547);
                    break;
                case 4:
                    Expect("BAR 0", _showsSize ? Bar0Size : bar, await ReadAsync(Bar0));
                    break;
                default:
                    Expect("revision", NicRevision, await ReadAsync(Revision));
                    break;
            }
        }

        private async Task<uint> ReadAsync(int offset, int size = 4)
        {
            var answer = await guest.Frontend.ReadConfigAsync(0, 0, 0, offset, size);
            Expect($"read of {offset:x}", 0, answer.Error);
            if (answer.TimedOut) Fault ??= $"read of {offset:x} was not answered";
            return answer.Value;
        }

        private async Task WriteAsync(int offset, int size, uint value) => Expect($"write of {offset:x}", 0, (await guest.Frontend.WriteConfigAsync(0, 0, 0, offset, size, value)).Error);

        private void Expect(string what, long expected, long actual)
        {
            if (actual != expected) Fault ??= string.Create(CultureInfo.InvariantCulture, $"{what} is {actual:x}, expected {expected:x}");
        }
    }
}
