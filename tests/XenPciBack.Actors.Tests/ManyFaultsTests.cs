using Akka.Actor;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using Xunit.Abstractions;

namespace XenPciBack.Actors.Tests;

/// <summary>
/// Two hundred guests and one random fault after another. After each one exactly the guests that it concerns are gone, all others
/// answer; and at the end the backend holds no more than at the beginning. FAULTS says how many (100, so that all tests
/// together take less than an hour), FAULTS_SEED which.
/// </summary>
public class ManyFaultsTests(ITestOutputHelper output) : ManyGuestsTest
{
    private const int GuestCount = 200, GuestsBelowPort = 4;
    private const uint MalformedTlp = 1 << 18, CompletionTimeout = 1 << 14;
    private const int Revision = 0x08;
    private const uint NicRevision = 0x0200_0000;

    private readonly List<SimulatedGuest> _guests = [];

    // How often the actor of a guest has failed.
    private readonly Dictionary<DomainId, int> _bugs = [];

    protected override TimeSpan? ToolstackPatience => TimeSpan.FromMilliseconds(200);

    /// <summary>Whom a fault of the guest at an index ends: nobody, the guest, or all below its port.</summary>
    private enum Reach
    {
        Nobody,
        Guest,
        Port,
    }

    private static HostBdf PortOf(int index) => new(1, 0, (byte)(index / GuestsBelowPort / 8), (byte)(index / GuestsBelowPort % 8));

    [Fact]
    public async Task Random_faults_concern_whom_they_should_and_leave_nothing_behind()
    {
        var (faults, seed) = (Number("FAULTS", 100), Number("FAULTS_SEED", Random.Shared.Next()));
        output.WriteLine($"FAULTS={faults} FAULTS_SEED={seed}");
        var random = new Random(seed);
        for (var i = 0; i < GuestCount; i++) Xen.Pci.Plug(Intel82574.At(DeviceOf(i)).Resettable().Behind(PortOf(i)));
        for (var i = 0; i < GuestCount; i++) _guests.Add(await Xen.CreateGuestAsync($"guest{i}", [DeviceOf(i)], Patient));
        foreach (var guest in _guests) await guest.Frontend.WaitUntilConnectedAsync(Soon());
        var killed = 0;

        // Whatever is made at first use has been made then.
        for (var i = 0; i < 50; i++) killed += await LetFailAsync(random, $"before the count, fault {i} of FAULTS_SEED={seed}");
        var before = await HeldAsync();
        for (var i = 0; i < faults; i++) killed += await LetFailAsync(random, $"fault {i} of FAULTS_SEED={seed}");
        var after = await HeldAsync();

        output.WriteLine($"{killed} guests were ended; held before: {before.Handles}, {before.Memory >> 10} KiB; after: {after.Handles}, {after.Memory >> 10} KiB");
        Assert.Equal(before.Handles, after.Handles);
        // The error nodes in xenstore stay, as the kernel's do, about 1 KiB for each guest; the actors of one guest would be 20.
        Assert.InRange(after.Memory - before.Memory, long.MinValue, 500_000 + faults * 2_000L);
        Assert.All(_guests, guest => Assert.Equal(0, guest.Frontend.UnansweredRequests));
    }

    /// <returns>How many guests it has ended.</returns>
    private async Task<int> LetFailAsync(Random random, string which)
    {
        var index = random.Next(GuestCount);
        var (name, reach) = await InjectAsync(random.Next(14), index);
        var ended = reach switch
        {
            Reach.Port => Enumerable.Range(index / GuestsBelowPort * GuestsBelowPort, GuestsBelowPort).ToArray(),
            Reach.Guest => [index],
            _ => [],
        };
        foreach (var victim in ended) await EventuallyAsync(true, () => _guests[victim].IsCrashed);
        var crashed = _guests.Index().Where(guest => guest.Item.IsCrashed).Select(guest => guest.Index);
        Assert.True(ended.SequenceEqual(crashed), $"{which}, {name} of guest {index}: guests {string.Join(' ', crashed)} were ended; expected {string.Join(' ', ended)}");

        foreach (var victim in ended)
        {
            await EventuallyAsync(false, () => Xen.Guests.Contains(_guests[victim]));
            await EventuallyAsync(true, () => Quarantine.Clear(DeviceOf(victim)));
            Xen.Pci[DeviceOf(victim)].IsPresent = true;
            await EventuallyAsync($"{GuestCount - ended.Length} functions", () => $"{Xen.Pci.OpenFunctions} functions");
        }
        foreach (var victim in ended)
        {
            _bugs.Remove(_guests[victim].Id);
            var next = _guests[victim] = await Xen.CreateGuestAsync($"guest{victim}", [DeviceOf(victim)], Patient);
            await EventuallyAsync("frontend 4, backend 4, error ''", async () => next.Frontend.State == 4 ? "frontend 4, backend 4, error ''"
                : $"{which}, {name} of guest {index}: frontend {next.Frontend.State}, backend {await ReadAsync(next, "state")}, error '{await ReadErrorAsync(next)}'");
        }
        foreach (var guest in _guests)
        {
            var answer = await guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
            Assert.True(answer is { Error: 0, Value: NicRevision }, $"{which}, {name} of guest {index}: guest {guest.Name} was answered {answer}");
        }
        return ended.Length;
    }

    private async Task<(string Name, Reach Ends)> InjectAsync(int kind, int index)
    {
        var (guest, device) = (_guests[index], DeviceOf(index));
        Task<FrontendAnswer> Read() => guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
        switch (kind)
        {
            case 0:
                Xen.Aer.Inject(device, AerSeverity.NonFatal, CompletionTimeout);
                return ("a non-fatal error", Reach.Guest);
            case 1:
                // The host resets everything below the port.
                Xen.Aer.Inject(device, AerSeverity.Fatal, MalformedTlp);
                return ("a fatal error", Reach.Port);
            case 2:
                Xen.Aer.Inject(PortOf(index), AerSeverity.NonFatal, CompletionTimeout);
                return ("an error of the port", Reach.Port);
            case 3:
                await InjectManyAsync(device, AerSeverity.NonFatal, CompletionTimeout);
                return ("a storm of errors", Reach.Guest);
            case 4:
                await InjectManyAsync(device, AerSeverity.Correctable, 1);
                return ("a storm of correctable errors", Reach.Nobody);
            case 5:
                Xen.Pci[device].IsPresent = false;
                _ = Read();
                return ("a device pulled out", Reach.Guest);
            case 6:
                Xen.Faults.Arm(FaultPoint.ConfigRead, device: device);
                Assert.Equal(-5, (await Read()).Error);
                return ("a failing config read", Reach.Nobody);
            case 7:
                return await WithBugAsync(FaultPoint.ConfigRead, Read);
            case 8:
                return await WithBugAsync(FaultPoint.Notify, Read);
            case 9:
                return await WithBugAsync(FaultPoint.Unmask, Read);
            case 10:
                var refusing = Xen.Faults.Arm(FaultPoint.StoreReply, guest: guest.Id, times: 5);
                await guest.Frontend.WriteStateAsync(guest.Frontend.State);
                await EventuallyAsync(5, () => refusing.Struck);
                refusing.Dispose();
                return ("a xenstored that refuses", Reach.Nobody);
            case 11:
                await Xen.RestartXenStoredAsync();
                return ("a restart of xenstored", Reach.Nobody);
            case 12:
                Xen.Faults.Arm(FaultPoint.PirqMap, guest: guest.Id, errno: 28);
                Assert.Equal(-5, (await AskAsync(guest, EnableMsi)).Error);
                return ("no PIRQ left", Reach.Nobody);
            default:
                Xen.Faults.Arm(FaultPoint.RecordWrite, device: device, times: 2, errno: 28);
                Xen.Aer.Inject(device, AerSeverity.NonFatal, CompletionTimeout);
                await EventuallyAsync(true, () => Xen.LastingRecords.Names.Contains($"{device}"));
                return ("an error while the disk is full", Reach.Guest);
        }

        // Less often than Supervision.MostFailures within its window for one guest, or that one is left alone.
        async Task<(string, Reach)> WithBugAsync(FaultPoint point, Func<Task<FrontendAnswer>> read)
        {
            if (!_bugs.TryAdd(guest.Id, 1) && ++_bugs[guest.Id] >= Supervision.MostFailures) return ("nothing", Reach.Nobody);
            using var bug = Xen.Faults.Arm(point, FaultKind.Bug, guest: point == FaultPoint.ConfigRead ? null : guest.Id, device: point == FaultPoint.ConfigRead ? device : null);
            Assert.Equal(0, (await read()).Error);
            await EventuallyAsync(1, () => bug.Struck);
            return ($"a bug at {point}", Reach.Nobody);
        }
    }

    // Until all have been heard: one that comes later would concern the next guest that has the device.
    private async Task InjectManyAsync(HostBdf device, AerSeverity severity, uint status)
    {
        for (var i = 0; i < 1000; i++) Xen.Aer.Inject(device, severity, status);
        foreach (var path in (ActorPath[])[Backend.Path / "aer", Backend.Path]) await Sys.ActorSelection(path).Ask<ActorIdentity>(new Identify(path), Patience);
    }

    /// <summary>What the backend and its host hold when all is quiet.</summary>
    private async Task<(string Handles, long Memory)> HeldAsync()
    {
        string? last = null;
        await EventuallyAsync(true, async () =>
        {
            var actors = await CountAsync($"{Backend.Path.ToStringWithoutAddress()}/*");
            var now = $"{Xen.HeldByDom0}, {Xen.XenStored.RegisteredWatches} watches, {actors} actors, {OpenSockets()} sockets, {Xen.LastingRecords.Names.Count} records";
            var isSame = now == last;
            last = now;
            if (!isSame) await Task.Delay(100);
            return isSame;
        });
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (last!, GC.GetTotalMemory(forceFullCollection: true));
    }

    // The runtime opens files of its own at any time.
    private static int OpenSockets() => Directory.GetFileSystemEntries("/proc/self/fd").Count(path => new FileInfo(path).LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);

    /// <summary>How many actors there are at a path.</summary>
    private async Task<int> CountAsync(string path)
    {
        var probe = CreateTestProbe();
        Sys.ActorSelection(path).Tell(new Identify(path), probe);
        var count = 0;
        while (await probe.ReceiveOneAsync(TimeSpan.FromMilliseconds(300)) is ActorIdentity { Subject: not null }) count++;
        Sys.Stop(probe);
        return count;
    }
}
