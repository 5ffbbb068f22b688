using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// An uncorrectable error of one device ends one guest. Which errors concern whom: <see cref="AerMonitorTests"/>.
/// </summary>
public class AerTests
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;

    private static readonly HostBdf Port = HostBdf.Parse("0000:00:1c.0");

    private static readonly Held OneGuestWithOneDevice = new(Pages: 1, Ports: 1, Functions: 1);

    private static BackendSettings With(Func<AerPolicies, AerPolicies> change) =>
        TestDom0.Settings with { Aer = change(TestDom0.Settings.Aer) };

    [Theory]
    [InlineData(AerSeverity.NonFatal), InlineData(AerSeverity.Fatal)]
    public async Task The_guest_that_has_the_device_is_crashed_and_no_other(AerSeverity severity)
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Preserve;
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Sata);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);

        dom0.Xen.Aer.Inject(Nic, severity, CompletionTimeout);

        Assert.Equal(Nic, (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Device);
        Assert.True(guest.IsCrashed);
        await Eventually.EqualAsync("aerfail", () => dom0.ReadAsync(guest, "aerState"));
        Assert.Contains("Completion Timeout", await dom0.ReadErrorAsync(guest), StringComparison.Ordinal);
        Assert.False(bystander.IsCrashed);
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
        Assert.Null(await dom0.ReadAsync(bystander, "aerState"));
    }

    [Fact]
    public async Task The_lost_device_is_reset_at_once_and_the_others_when_the_toolstack_takes_the_guest_down()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Preserve;
        dom0.Xen.Pci.Plug(Intel82574.At(Spare).Resettable());
        var guest = await dom0.ConnectedGuestAsync("web", Spare, Sata);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, MalformedTlp);
        await Eventually.EqualAsync(1, () => dom0.Xen.Pci[Spare].Resets);
        await Eventually.EqualAsync(new Held(Functions: 1), () => dom0.Xen.HeldByDom0);
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task The_toolstack_takes_the_crashed_guest_down_without_waiting_for_its_frontend()
    {
        // No patience ever ends: time stands still.
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        await dom0.ConnectedGuestAsync("web", Nic, Sata);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.Guests.Count);
    }

    [Fact]
    public async Task The_device_is_in_quarantine_until_it_is_cleared_even_for_the_next_daemon()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.Guests.Count);
        await Eventually.EqualAsync(1, () => dom0.Xen.LastingRecords.Names.Count);
        await dom0.RestartDaemonAsync();

        var next = await dom0.Xen.CreateGuestAsync("next", [Nic]);
        await ErrorContainsAsync(dom0, next, "in quarantine since");
        Assert.Contains("fatal: Malformed TLP", await dom0.ReadErrorAsync(next), StringComparison.Ordinal);
        // The toolstack waits for a backend that has refused the device.
        await dom0.AdvanceUntilDoneAsync(dom0.Xen.DestroyGuestAsync(next));

        Assert.True(dom0.Quarantine.Clear(Nic));
        await dom0.ConnectedGuestAsync("again", Nic);
    }

    [Fact]
    public async Task A_guest_that_is_restarted_goes_on_without_the_device()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Restart;
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await ErrorContainsAsync(dom0, await RestartedAsync(dom0, guest), "in quarantine");
    }

    [Fact]
    public async Task A_correctable_error_costs_nobody_anything()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        await dom0.Events.NextAsync<BackendEvents.DeviceError>();
        await dom0.ErrorsHandledAsync();
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.False(guest.IsCrashed);
    }

    [Fact]
    public async Task An_error_of_a_bridge_is_one_of_every_device_below_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var (near, far) = (Spare, HostBdf.Parse("0000:07:00.0"));
        dom0.Xen.Pci.Plug(Intel82574.At(near).Behind(Port));
        dom0.Xen.Pci.Plug(Intel82574.At(far).Behind(Port, HostBdf.Parse("0000:06:00.1")));
        dom0.Xen.Pci.Plug(Intel82574.At(HostBdf.Parse("0000:08:00.0")).Behind(HostBdf.Parse("0000:00:1d.0")));
        var below = await dom0.ConnectedGuestAsync("below", near);
        var deeper = await dom0.ConnectedGuestAsync("deeper", far);
        var beside = await dom0.ConnectedGuestAsync("beside", HostBdf.Parse("0000:08:00.0"));

        dom0.Xen.Aer.Inject(Port, AerSeverity.Fatal, MalformedTlp);

        DomainId[] ended =
        [
            (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Guest,
            (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Guest,
        ];
        Assert.Equal([below.Id, deeper.Id], ended.OrderBy(id => id.Value));
        Assert.Equal(NicIds, await beside.Device(0).ReadAsync(Register.Ids));
        Assert.False(beside.IsCrashed);
    }

    [Fact]
    public async Task With_detach_the_toolstack_takes_the_device_away_and_the_guest_goes_on()
    {
        await using var dom0 = await TestDom0.StartAsync(
            With(aer => aer with { ByDevice = aer.ByDevice.Add(Nic, AerResponse.Detach) }));
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(OneGuestWithOneDevice, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(
            $"{Edu}", async () => string.Join(' ', await dom0.Xen.Toolstack.DevicesAsync(guest.Id)));
        Assert.False(guest.IsCrashed);
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        Assert.NotNull(dom0.Quarantine.Find(Nic));
    }

    [Fact]
    public async Task With_report_nothing_happens_but_a_line_in_the_log()
    {
        await using var dom0 = await TestDom0.StartAsync(With(aer => aer with { Response = AerResponse.Report }));
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await dom0.Events.NextAsync<BackendEvents.DeviceError>();
        await dom0.ErrorsHandledAsync();
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.False(guest.IsCrashed);
        Assert.Empty(dom0.Quarantine.Devices);
    }

    [Fact]
    public async Task A_device_that_is_pulled_out_ends_its_guest_at_the_next_access_to_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        dom0.Xen.Pci[Nic].IsPresent = false;
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        Assert.False(guest.IsCrashed);
        _ = guest.Device(0).TryReadAsync(Register.Revision);
        Assert.Equal("it has gone from the host", (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Reason);
        Assert.NotNull(dom0.Quarantine.Find(Nic));
    }

    [Fact]
    public async Task Two_devices_of_a_guest_that_fail_at_once_are_both_quarantined_and_given_back()
    {
        await using var dom0 = await TestDom0.StartAsync();
        HostBdf[] cards = [Spare, HostBdf.Parse("0000:06:00.1")];
        foreach (var card in cards) dom0.Xen.Pci.Plug(Intel82574.At(card).Behind(Port));
        await dom0.ConnectedGuestAsync("web", cards);
        dom0.Xen.Aer.Inject(Port, AerSeverity.Fatal, MalformedTlp);
        await dom0.Events.NextAsync<BackendEvents.GuestKilled>();
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.Equal(cards, dom0.Quarantine.Devices.Select(quarantined => quarantined.Device));
        await dom0.Events.NextAsync<BackendEvents.GuestGone>();
        Assert.Single(await dom0.Events.AllOfAsync<BackendEvents.GuestKilled>());
    }

    [Fact]
    public async Task A_disk_that_is_slow_or_full_lets_nobody_have_a_device_that_was_lost()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.OnCrash = OnCrash.Restart;
        using var slow = dom0.Xen.Faults.Arm(FaultPoint.RecordWrite, FaultKind.Stall);
        using var full = dom0.Xen.Faults.Arm(FaultPoint.RecordWrite, times: 3, errno: Errnos.ENOSPC);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);

        await ErrorContainsAsync(dom0, await RestartedAsync(dom0, guest), "in quarantine");
        Assert.Empty(dom0.Xen.LastingRecords.Names);
        slow.Dispose();
        await Eventually.EqualAsync($"{Nic}", () => string.Join(' ', dom0.Xen.LastingRecords.Names));
        Assert.Equal(3, full.Struck);
    }

    [Fact]
    public async Task An_error_that_comes_while_a_failed_actor_is_replaced_ends_the_guest_at_once()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var opening = dom0.Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Nic);
        using var bug = dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        _ = guest.Device(0).TryReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => opening.Struck);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        Assert.Equal(guest.Id, (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Guest);
        Assert.True(guest.IsCrashed);
        Assert.NotNull(dom0.Quarantine.Find(Nic));
        opening.Dispose();
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task An_error_while_no_daemon_ran_ends_its_guest_when_one_runs_again()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        await dom0.StopDaemonAsync();
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.StartDaemonAsync();
        Assert.Equal(guest.Id, (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Guest);
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task An_error_of_a_device_that_nobody_had_does_not_concern_its_next_guest()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await dom0.Events.NextAsync<BackendEvents.DeviceError>();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.ErrorsHandledAsync();
        Assert.Equal(NicRevision, await guest.Device(0).ReadAsync(Register.Revision));
        Assert.False(guest.IsCrashed);
        Assert.Null(dom0.Quarantine.Find(Nic));
    }

    [Fact]
    public async Task A_feed_of_errors_that_cannot_be_watched_is_tried_again_after_a_pause()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true, withDaemon: false);
        using var fault = dom0.Xen.Faults.Arm(FaultPoint.ErrorFeed, times: 5);
        await dom0.StartDaemonAsync();
        await Eventually.EqualAsync(1, () => fault.Struck);
        Assert.Equal(0, dom0.Xen.Aer.Watchers);
        var watched = Eventually.EqualAsync(1, () => dom0.Xen.Aer.Watchers);
        await dom0.AdvanceUntilDoneAsync(watched, TestDom0.Settings.StoreRetry);
        Assert.Equal(5, fault.Struck);
    }

    [Theory]
    [InlineData(FaultKind.Error), InlineData(FaultKind.Bug)]
    public async Task A_guest_that_the_hypervisor_does_not_crash_goes_on_without_its_device(FaultKind kind)
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        using var fault = dom0.Xen.Faults.Arm(FaultPoint.DomainCrash, kind, errno: Errnos.EPERM);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        Assert.NotNull((await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Fault);
        Assert.False(guest.IsCrashed);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await dom0.AdvanceUntilDoneAsync(dom0.Xen.DestroyGuestAsync(guest));
        await Eventually.IsTrueAsync(() => dom0.Quarantine.Clear(Nic));
        // The daemon has forgotten that guest, and the device is as good as before.
        await dom0.ConnectedGuestAsync("next", Nic);
    }

    [Fact]
    public async Task More_correctable_errors_than_the_limit_end_the_guest_with_that_reason()
    {
        await using var dom0 = await TestDom0.StartAsync(
            With(aer => aer with { CorrectableLimit = 10, CorrectableWindow = TimeSpan.FromHours(1) }));
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 10; i++) dom0.Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        await dom0.ErrorsHandledAsync();
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.False(guest.IsCrashed);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        var reason = (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Reason;
        Assert.Contains("correctable: Receiver Error", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_that_was_being_opened_for_the_guest_is_closed()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        dom0.Xen.OnCrash = OnCrash.Preserve;
        using var opening = dom0.Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Sata);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Sata);
        await Eventually.EqualAsync(1, () => opening.Struck);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        opening.Dispose();
        await dom0.AdvanceUntilDoneAsync(dom0.Xen.DestroyGuestAsync(guest));
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_monitor_that_fails_is_followed_by_one_that_knows_the_guests()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Tell(new Host.AerReport.Met(null!));
        await Eventually.EqualAsync(0, () => dom0.Xen.Aer.Watchers);
        // The feed keeps what it could tell nobody.
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await dom0.Events.NextAsync<BackendEvents.ActorReplaced>();
        await dom0.AdvanceUntilDoneAsync(dom0.Events.NextAsync<BackendEvents.GuestKilled>());
        Assert.True(guest.IsCrashed);
    }

    [Fact]
    public async Task An_error_that_a_guests_actor_did_not_live_to_settle_is_told_to_the_next_one()
    {
        await using var dom0 =
            await TestDom0.StartAsync(With(aer => aer with { Response = AerResponse.RecoverThenKill }));
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var opening = dom0.Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Nic);
        dom0.Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: guest.Id);
        var read = guest.Device(0).TryReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => opening.Struck);
        var connecting = dom0.Xen.Faults.Arm(FaultPoint.PortBind, FaultKind.Bug, guest: guest.Id);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.Events.NextAsync<BackendEvents.DeviceError>();
        opening.Dispose();
        await Eventually.EqualAsync(1, () => connecting.Struck);
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        GC.KeepAlive(read);
    }

    [Fact]
    public async Task A_storm_of_errors_is_one_death()
    {
        await using var dom0 = await TestDom0.StartAsync();
        await dom0.ConnectedGuestAsync("web", Nic);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        for (var i = 0; i < 1000; i++) dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.Events.NextAsync<BackendEvents.GuestKilled>();
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
        await Eventually.EqualAsync(OneGuestWithOneDevice, () => dom0.Xen.HeldByDom0);
        await dom0.Events.NextAsync<BackendEvents.GuestGone>();
        await dom0.ErrorsHandledAsync();
        Assert.Single(await dom0.Events.AllOfAsync<BackendEvents.GuestKilled>());
    }

    private static Task ErrorContainsAsync(TestDom0 dom0, SimulatedGuest guest, string text) => Eventually.IsTrueAsync(
        async () => (await dom0.ReadErrorAsync(guest))?.Contains(text, StringComparison.Ordinal) == true);

    /// <summary>The guest that the toolstack makes in place of one that has crashed.</summary>
    private static async Task<SimulatedGuest> RestartedAsync(TestDom0 dom0, SimulatedGuest crashed)
    {
        SimulatedGuest? next = null;
        bool IsNext(SimulatedGuest guest) => guest.Name == crashed.Name && guest.Id != crashed.Id;
        await Eventually.IsTrueAsync(() => (next = dom0.Xen.Guests.FirstOrDefault(IsNext)) is not null);
        return next!;
    }
}
