using System.Collections.Concurrent;
using System.Diagnostics;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;
using Xunit.Abstractions;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// A guest whose device is lost is crashed before anything else is done, and no end of the daemon between the report
/// and the crash lets the loss be forgotten. tests/models/crash.pml has the same order.
/// </summary>
public class CrashFirstTests(ITestOutputHelper output)
{
    private const uint MalformedTlp = 1 << 18;

    [Fact]
    public async Task A_guest_whose_device_never_answers_is_crashed_before_the_access_returns()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Preserve;
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var access = await HangAsync(dom0, guest);
        var reported = Stopwatch.GetTimestamp();
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        output.WriteLine($"report to crash: {Stopwatch.GetElapsedTime(reported).TotalMilliseconds:0.0} ms");
        await Eventually.EqualAsync($"{Nic}", () => string.Join(' ', dom0.Xen.LastingRecords.Names));
        Assert.Equal(0, dom0.Xen.Pci[Nic].Resets);

        access.Dispose();
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_daemon_killed_while_an_access_hangs_leaves_the_crash_and_the_quarantine_to_the_next()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Preserve;
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var access = await HangAsync(dom0, guest);
        using var crash = dom0.Xen.Faults.Arm(FaultPoint.DomainCrash, FaultKind.Stall, process: dom0.Process);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await dom0.Events.NextAsync<BackendEvents.DeviceError>();
        dom0.Process.Kill();
        access.Dispose();
        crash.Dispose();
        await dom0.RestartDaemonAsync();
        await CrashedAndQuarantinedAsync(dom0, guest, Nic);
    }

    [Theory]
    [InlineData(OnCrash.Preserve), InlineData(OnCrash.Destroy)]
    public async Task A_daemon_killed_at_any_step_leaves_the_crash_and_the_quarantine_to_the_next(OnCrash onCrash)
    {
        var steps = await StepsAsync(onCrash);
        output.WriteLine(string.Join('\n', steps));
        foreach (var point in (FaultPoint[])[FaultPoint.IntentWrite, FaultPoint.DomainCrash, FaultPoint.RecordWrite])
            Assert.Contains((point, 1), steps);
        // The order: the intent, the crash, the quarantine, and after that the device is given back.
        Assert.Equal(
            [FaultPoint.IntentWrite, FaultPoint.DomainCrash, FaultPoint.RecordWrite, FaultPoint.IntentWrite,
                FaultPoint.DeviceReset],
            steps.Select(step => step.Point).Where(IsOfOrder));
        foreach (var (point, nth) in steps)
        {
            await using var dom0 = await StartAsync(onCrash);
            var guest = await dom0.ConnectedGuestAsync("web", Spare);
            using var death = dom0.Xen.Faults.Arm(point, FaultKind.Death, nth: nth, process: dom0.Process);
            dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, MalformedTlp);
            await Eventually.IsTrueAsync(() => death.Struck == 1 || IsOver(dom0), () => $"{point} {nth}");
            await dom0.RestartDaemonAsync();
            await Eventually.IsTrueAsync(() => guest.IsCrashed, () => $"{point} {nth}");
            await Eventually.IsTrueAsync(() => IsOnRecord(dom0), () => $"{point} {nth}");
            Assert.NotNull(dom0.Quarantine.Find(Spare));
            if (onCrash == OnCrash.Preserve) await dom0.Xen.DestroyGuestAsync(guest);
            await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0, $"{point} {nth}");
        }
    }

    [Fact]
    public async Task An_error_met_while_no_daemon_ran_is_known_before_the_next_guest_can_have_the_device()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.StopDaemonAsync();
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await dom0.AdvanceUntilDoneAsync(dom0.Xen.DestroyGuestAsync(guest));
        var next = await dom0.Xen.CreateGuestAsync("next", [Nic]);
        await dom0.StartDaemonAsync();
        await Eventually.IsTrueAsync(
            async () => (await dom0.ReadErrorAsync(next))?.Contains("in quarantine", StringComparison.Ordinal) == true);
        Assert.False(next.IsCrashed);
    }

    [Fact]
    public async Task An_intent_is_not_carried_out_on_the_next_domain_that_has_the_guests_id()
    {
        await using var dom0 = await TestDom0.StartAsync(withDaemon: false);
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic, Edu]);
        var vm = (await dom0.Store.ReadAsync(XenStorePath.DomainHome(guest.Id.Value) / "vm"))!;
        dom0.Xen.Intents.Write($"{guest.Id}-{Sata}", TextOf("/vm/of-another-domain"));
        await dom0.StartDaemonAsync();
        await Eventually.EqualAsync($"{Sata}", () => string.Join(' ', dom0.Xen.LastingRecords.Names));
        await Eventually.EqualAsync(0, () => dom0.Xen.Intents.Names.Count);
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        Assert.False(guest.IsCrashed);

        await dom0.StopDaemonAsync();
        dom0.Xen.Intents.Write($"{guest.Id}-{Nic}", TextOf(vm));
        await dom0.StartDaemonAsync();
        await CrashedAndQuarantinedAsync(dom0, guest, Nic, Sata);

        static string TextOf(string vm) => $$"""{"Vm":"{{vm}}","Since":"2026-01-01T00:00:00+00:00","Reason":"fatal"}""";
    }

    [Theory]
    [InlineData(FaultKind.Error), InlineData(FaultKind.Stall)]
    public async Task A_guest_does_not_run_on_while_the_intent_cannot_be_put_on_record(FaultKind kind)
    {
        await using var dom0 = await TestDom0.StartAsync();
        using var fault = dom0.Xen.Faults.Arm(FaultPoint.IntentWrite, kind);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await CrashedAndQuarantinedAsync(dom0, guest, Nic);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.Equal(1, fault.Struck);
        fault.Dispose();
        await Eventually.EqualAsync(0, () => dom0.Xen.Intents.Names.Count);
    }

    // ---- Helpers ----------------------------------------------------------------------------------------------------

    private static bool IsOfOrder(FaultPoint point) => point is FaultPoint.IntentWrite or FaultPoint.DomainCrash
        or FaultPoint.RecordWrite or FaultPoint.DeviceReset;

    private static async Task<TestDom0> StartAsync(OnCrash onCrash)
    {
        // The toolstack waits in vain for a daemon that was killed.
        var dom0 = await TestDom0.StartAsync(toolstackPatience: TimeSpan.FromMilliseconds(100));
        dom0.Xen.OnCrash = onCrash;
        dom0.Xen.Pci.Plug(Intel82574.At(Spare).Resettable());
        return dom0;
    }

    /// <summary>The calls that a daemon makes to its host from the report to the end, in their order.</summary>
    private static async Task<IReadOnlyList<(FaultPoint Point, int Nth)>> StepsAsync(OnCrash onCrash)
    {
        var calls = new ConcurrentQueue<FaultPoint>();
        await using var dom0 = await StartAsync(onCrash);
        await dom0.ConnectedGuestAsync("web", Spare);
        // xenstored and the guest do not stop for a daemon that is killed.
        var watched = Enum.GetValues<FaultPoint>().Except([FaultPoint.StoreReply, FaultPoint.Event])
            .Select(point => dom0.Xen.Faults.Watch(point, onCall: () => calls.Enqueue(point))).ToList();
        dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, MalformedTlp);
        await Eventually.IsTrueAsync(() => IsOver(dom0));
        foreach (var watch in watched) watch.Dispose();
        return [.. calls.Select((point, at) => (point, calls.Take(at + 1).Count(call => call == point)))];
    }

    /// <summary>The loss is on record, nothing is left to do about it, and the device is the host's again.</summary>
    private static bool IsOver(TestDom0 dom0) => IsOnRecord(dom0) && dom0.Xen.HeldByDom0 == Held.Nothing;

    private static bool IsOnRecord(TestDom0 dom0) => dom0.Xen.LastingRecords.Names.Contains($"{Spare}")
        && dom0.Xen.Intents.Names.Count == 0 && dom0.Xen.Aer.Unhandled.Count == 0;

    /// <summary>The guest reads a register of its device, and the read does not return until the fault is
    /// disposed.</summary>
    private static async Task<ArmedFault> HangAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        var access = dom0.Xen.Faults.Arm(
            FaultPoint.ConfigRead, FaultKind.Stall, device: Nic, register: Register.Revision.Offset);
        _ = guest.Device(0).TryReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => access.Struck);
        return access;
    }

    private static async Task CrashedAndQuarantinedAsync(TestDom0 dom0, SimulatedGuest guest, params HostBdf[] devices)
    {
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        await Eventually.EqualAsync(
            string.Join(' ', devices.Select(device => $"{device}").Order(StringComparer.Ordinal)),
            () => string.Join(' ', dom0.Xen.LastingRecords.Names));
    }
}
