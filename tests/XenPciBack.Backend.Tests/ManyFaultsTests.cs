using Akka.Actor;
using XenPciBack.Backend.Supervision;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;
using Xunit.Abstractions;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// Many guests and one fault after another: each kind as often as any other, in random order, of a random guest. After
/// each one exactly the guests that it concerns are gone, all others answer; and at the end the backend holds no more
/// than at the beginning. FAULTS says how many faults, FAULTS_GUESTS how many guests, FAULTS_SEED which order.
/// </summary>
[Collection(nameof(AloneInTheProcess))]
public class ManyFaultsTests(ITestOutputHelper output)
{
    private const int GuestsBelowPort = 4;
    private const uint MalformedTlp = 1 << 18, CompletionTimeout = 1 << 14;

    private static readonly Fault[] Faults = Enum.GetValues<Fault>();

    private readonly int _guestCount = ManyGuests.Number("FAULTS_GUESTS", 40) / GuestsBelowPort * GuestsBelowPort;
    private readonly List<SimulatedGuest> _guests = [];

    // How often the actor of a guest has failed.
    private readonly Dictionary<DomainId, int> _bugs = [];

    private enum Fault
    {
        NonFatalError,
        FatalError,
        ErrorOfPort,
        StormOfErrors,
        StormOfCorrectableErrors,
        DevicePulledOut,
        ConfigReadFails,
        BugAtConfigRead,
        BugAtNotify,
        BugAtUnmask,
        XenStoredRefuses,
        XenStoredRestarts,
        NoPirqLeft,
        ErrorWhileDiskIsFull,
    }

    private static HostBdf PortOf(int index) =>
        new(1, 0, (byte)(index / GuestsBelowPort / 8), (byte)(index / GuestsBelowPort % 8));

    [Fact]
    public async Task Faults_concern_whom_they_should_and_leave_nothing_behind()
    {
        var faults = ManyGuests.Number("FAULTS", 4 * Faults.Length);
        var seed = ManyGuests.Number("FAULTS_SEED", Random.Shared.Next());
        output.WriteLine($"FAULTS={faults} FAULTS_GUESTS={_guestCount} FAULTS_SEED={seed}");
        var random = new Random(seed);
        await using var dom0 = await TestDom0.StartAsync(toolstackPatience: TimeSpan.FromMilliseconds(200));
        for (var i = 0; i < _guestCount; i++)
        {
            var device = ManyGuests.DeviceOf(i);
            dom0.Xen.Pci.Plug(Intel82574.At(device).Resettable().Behind(PortOf(i)));
            _guests.Add(await dom0.Xen.CreateGuestAsync($"guest{i}", [device], ManyGuests.Patient));
        }
        foreach (var guest in _guests) await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);

        // Whatever is made at first use has been made after each kind has struck once.
        foreach (var fault in InRandomOrder(random, Faults.Length))
            await LetFailAsync(dom0, random, fault, $"before the count, FAULTS_SEED={seed}");
        var before = await HeldAsync(dom0);
        var (number, killed) = (0, 0);
        foreach (var fault in InRandomOrder(random, faults))
            killed += await LetFailAsync(dom0, random, fault, $"fault {number++} of FAULTS_SEED={seed}");
        var after = await HeldAsync(dom0);

        output.WriteLine($"{killed} guests were ended; held before: {before.Handles}, {before.Memory >> 10} KiB");
        output.WriteLine($"held after: {after.Handles}, {after.Memory >> 10} KiB");
        Assert.Equal(before.Handles, after.Handles);
        // The error nodes in xenstore stay, as the kernel's do: 1 KiB for each guest; the book of incidents fills up to its
        // capacity; and the process of the tests has things of its own. The actors of a guest are 20 KiB, and six guests
        // of seven faults end: if they stayed, this would be more than 900 KiB.
        Assert.InRange(after.Memory - before.Memory, long.MinValue, 500_000 + faults * 2_000L);
        Assert.All(_guests, guest => Assert.Equal(0, guest.Frontend.UnansweredRequests));
    }

    /// <summary>Each kind once, then each kind once more in another order, and so on.</summary>
    private static IEnumerable<Fault> InRandomOrder(Random random, int count)
    {
        var round = Faults.ToArray();
        for (var i = 0; i < count; i++)
        {
            if (i % round.Length == 0) random.Shuffle(round);
            yield return round[i % round.Length];
        }
    }

    /// <returns>How many guests it has ended.</returns>
    private async Task<int> LetFailAsync(TestDom0 dom0, Random random, Fault fault, string which)
    {
        var index = WhomToMeet(random, fault);
        which = $"{which}, {fault} of guest {index}";
        int[] ended = await InjectAsync(dom0, fault, index) switch
        {
            Reach.Port => [.. Enumerable.Range(index / GuestsBelowPort * GuestsBelowPort, GuestsBelowPort)],
            Reach.Guest => [index],
            _ => [],
        };
        foreach (var victim in ended) await Eventually.IsTrueAsync(() => _guests[victim].IsCrashed, () => which);
        var crashed = _guests.Index().Where(guest => guest.Item.IsCrashed).Select(guest => guest.Index).ToArray();
        Assert.True(
            ended.SequenceEqual(crashed),
            $"{which}: guests {string.Join(' ', crashed)} were ended; expected {string.Join(' ', ended)}");

        foreach (var victim in ended)
        {
            await Eventually.IsTrueAsync(() => !dom0.Xen.Guests.Contains(_guests[victim]), () => which);
            await Eventually.IsTrueAsync(() => dom0.Quarantine.Clear(ManyGuests.DeviceOf(victim)), () => which);
            dom0.Xen.Pci[ManyGuests.DeviceOf(victim)].IsPresent = true;
        }
        await Eventually.EqualAsync(_guestCount - ended.Length, () => dom0.Xen.Pci.OpenFunctions);
        foreach (var victim in ended)
        {
            _bugs.Remove(_guests[victim].Id);
            HostBdf[] device = [ManyGuests.DeviceOf(victim)];
            var next = _guests[victim] = await dom0.Xen.CreateGuestAsync($"guest{victim}", device, ManyGuests.Patient);
            await Eventually.EqualAsync("frontend 4, backend 4, error ''", async () => next.Frontend.State == 4
                ? "frontend 4, backend 4, error ''"
                : $"frontend {next.Frontend.State}, backend {await dom0.ReadAsync(next, "state")}, "
                    + $"error '{await dom0.ReadErrorAsync(next)}'", which);
        }
        foreach (var guest in _guests)
        {
            var answer = await guest.Device(0).TryReadAsync(Register.Revision);
            var isRight = answer is { Error: 0, Value: NicRevision };
            Assert.True(isRight, $"{which}: guest {guest.Name} was answered {answer}");
        }
        return ended.Length;
    }

    // A guest whose actor fails FailureTable.MostFailures times within its window would be left alone.
    private int WhomToMeet(Random random, Fault fault)
    {
        if (fault is not (Fault.BugAtConfigRead or Fault.BugAtNotify or Fault.BugAtUnmask))
            return random.Next(_guestCount);
        var sound = _guests.Index()
            .Where(guest => _bugs.GetValueOrDefault(guest.Item.Id) < FailureTable.MostFailures - 1)
            .Select(guest => guest.Index).ToArray();
        var index = sound[random.Next(sound.Length)];
        _bugs[_guests[index].Id] = _bugs.GetValueOrDefault(_guests[index].Id) + 1;
        return index;
    }

    /// <summary>Whom a fault ends: nobody, the guest, or all below its port.</summary>
    private enum Reach
    {
        Nobody,
        Guest,
        Port,
    }

    private async Task<Reach> InjectAsync(TestDom0 dom0, Fault fault, int index)
    {
        var (guest, device, faults) = (_guests[index], ManyGuests.DeviceOf(index), dom0.Xen.Faults);
        switch (fault)
        {
            case Fault.NonFatalError:
                dom0.Xen.Aer.Inject(device, AerSeverity.NonFatal, CompletionTimeout);
                return Reach.Guest;
            case Fault.FatalError:
                // The host resets everything below the port.
                dom0.Xen.Aer.Inject(device, AerSeverity.Fatal, MalformedTlp);
                return Reach.Port;
            case Fault.ErrorOfPort:
                dom0.Xen.Aer.Inject(PortOf(index), AerSeverity.NonFatal, CompletionTimeout);
                return Reach.Port;
            case Fault.StormOfErrors:
                await InjectManyAsync(dom0, device, AerSeverity.NonFatal, CompletionTimeout);
                return Reach.Guest;
            case Fault.StormOfCorrectableErrors:
                await InjectManyAsync(dom0, device, AerSeverity.Correctable, 1);
                return Reach.Nobody;
            case Fault.DevicePulledOut:
                dom0.Xen.Pci[device].IsPresent = false;
                _ = guest.Device(0).TryReadAsync(Register.Revision);
                return Reach.Guest;
            case Fault.ConfigReadFails:
                faults.Arm(FaultPoint.ConfigRead, device: device);
                Assert.Equal(-5, (await guest.Device(0).TryReadAsync(Register.Revision)).Error);
                return Reach.Nobody;
            case Fault.BugAtConfigRead:
                return await MeetBugAsync(guest, faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: device));
            case Fault.BugAtNotify:
                return await MeetBugAsync(guest, faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: guest.Id));
            case Fault.BugAtUnmask:
                return await MeetBugAsync(guest, faults.Arm(FaultPoint.Unmask, FaultKind.Bug, guest: guest.Id));
            case Fault.XenStoredRefuses:
                using (var refusing = faults.Arm(FaultPoint.StoreReply, guest: guest.Id, times: 5))
                {
                    await guest.Frontend.WriteStateAsync(guest.Frontend.State);
                    await Eventually.EqualAsync(5, () => refusing.Struck);
                }
                return Reach.Nobody;
            case Fault.XenStoredRestarts:
                await dom0.Xen.RestartXenStoredAsync();
                return Reach.Nobody;
            case Fault.NoPirqLeft:
                faults.Arm(FaultPoint.PirqMap, guest: guest.Id, errno: Errnos.ENOSPC);
                Assert.Equal(-5, (await guest.Device(0).EnableMsiAsync()).Error);
                return Reach.Nobody;
            case Fault.ErrorWhileDiskIsFull:
                faults.Arm(FaultPoint.RecordWrite, device: device, times: 2, errno: Errnos.ENOSPC);
                dom0.Xen.Aer.Inject(device, AerSeverity.NonFatal, CompletionTimeout);
                await Eventually.IsTrueAsync(() => dom0.Xen.LastingRecords.Names.Contains($"{device}"));
                return Reach.Guest;
            default:
                throw new ArgumentOutOfRangeException(nameof(fault), fault, "no such fault");
        }
    }

    private static async Task<Reach> MeetBugAsync(SimulatedGuest guest, ArmedFault bug)
    {
        await guest.Device(0).ReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => bug.Struck);
        return Reach.Nobody;
    }

    // Until all have been handled: one that comes later would concern the next guest that has the device.
    private static Task InjectManyAsync(TestDom0 dom0, HostBdf device, AerSeverity severity, uint status)
    {
        for (var i = 0; i < 1000; i++) dom0.Xen.Aer.Inject(device, severity, status);
        return dom0.ErrorsHandledAsync();
    }

    /// <summary>What the backend and its host hold when all is quiet.</summary>
    private static async Task<(string Handles, long Memory)> HeldAsync(TestDom0 dom0)
    {
        // Quiet: the same for as long as nothing that is under way could take.
        var (last, since) = ("", 0);
        await Eventually.IsTrueAsync(() =>
        {
            var (watches, records) = (dom0.Xen.XenStored.RegisteredWatches, dom0.Xen.LastingRecords.Names.Count);
            var now = $"{dom0.Xen.HeldByDom0}, {watches} watches, {Actors(dom0.Backend)} actors, "
                + $"{OpenSockets()} sockets, {records} records";
            (last, since) = (now, now == last ? since + 1 : 0);
            return since == 50;
        }, () => last);
        await dom0.Events.ClearAsync();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (last, GC.GetTotalMemory(forceFullCollection: true));
    }

    /// <summary>How many actors there are below one.</summary>
    private static int Actors(IActorRef parent) => ((ActorRefWithCell)parent).Children.Count();

    // The runtime opens files of its own at any time.
    private static int OpenSockets() => Directory.GetFileSystemEntries("/proc/self/fd")
        .Count(path => new FileInfo(path).LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);
}
