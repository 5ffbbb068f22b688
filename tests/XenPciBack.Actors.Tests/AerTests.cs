using Akka.TestKit;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests;

/// <summary>An uncorrectable error of one device ends one guest.</summary>
public class AerTests : BackendTest
{
    private const int Revision = 0x08;
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;

    private TestProbe Killed()
    {
        var killed = CreateTestProbe();
        Sys.EventStream.Subscribe(killed, typeof(BackendEvents.GuestKilled));
        return killed;
    }

    [Theory]
    [InlineData(AerSeverity.NonFatal), InlineData(AerSeverity.Fatal)]
    public async Task The_guest_that_has_the_device_is_crashed_and_no_other(AerSeverity severity)
    {
        Xen.OnCrash = OnCrash.Preserve;
        var killed = Killed();
        var guest = await ConnectedGuestAsync("web", Nic, Sata);
        var bystander = await ConnectedGuestAsync("lab", Edu);

        Xen.Aer.Inject(Nic, severity, CompletionTimeout);

        Assert.Equal(Nic, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Device);
        Assert.True(guest.IsCrashed);
        await EventuallyAsync("aerfail", () => ReadAsync(guest, "aerState"));
        Assert.Contains("Completion Timeout", await ReadErrorAsync(guest), StringComparison.Ordinal);
        Assert.False(bystander.IsCrashed);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
        Assert.Null(await ReadAsync(bystander, "aerState"));
    }

    [Fact]
    public async Task The_lost_device_is_reset_at_once_and_the_others_when_the_toolstack_takes_the_guest_down()
    {
        Xen.OnCrash = OnCrash.Preserve;
        var nic = HostBdf.Parse("0000:06:00.0");
        Xen.Pci.Plug(Intel82574.At(nic).Resettable());
        var guest = await ConnectedGuestAsync("web", nic, Sata);
        Xen.Aer.Inject(nic, AerSeverity.Fatal, MalformedTlp);
        await EventuallyAsync(1, () => Xen.Pci[nic].Resets);
        await EventuallyAsync(new Held(Functions: 1), () => Xen.HeldByDom0);
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task The_toolstack_takes_the_crashed_guest_down_without_waiting_for_its_frontend()
    {
        await RestartBackendAsync(Settings with { HotPlugPatience = TimeSpan.FromHours(1) });
        await ConnectedGuestAsync("web", Nic, Sata);
        Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.Guests.Count);
    }

    [Fact]
    public async Task The_device_is_in_quarantine_until_it_is_cleared_even_for_the_next_daemon()
    {
        await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.Guests.Count);
        await RestartBackendAsync(Settings);

        var next = await Xen.CreateGuestAsync("next", [Nic]);
        await EventuallyAsync(true, async () => (await ReadErrorAsync(next))?.Contains("in quarantine since", StringComparison.Ordinal) == true);
        Assert.Contains("fatal: Malformed TLP", await ReadErrorAsync(next), StringComparison.Ordinal);
        await Xen.DestroyGuestAsync(next);

        Assert.True(Quarantine.Clear(Nic));
        await ConnectedGuestAsync("again", Nic);
    }

    [Fact]
    public async Task A_guest_that_is_restarted_goes_on_without_the_device()
    {
        Xen.OnCrash = OnCrash.Restart;
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await EventuallyAsync(true, () => Xen.Guests.Any(next => next.Name == "web" && next.Id != guest.Id));
        await EventuallyAsync(true, async () => (await ReadErrorAsync(Xen.Guests.Single()))?.Contains("in quarantine", StringComparison.Ordinal) == true);
    }

    [Fact]
    public async Task A_correctable_error_costs_nobody_anything()
    {
        var seen = CreateTestProbe();
        Sys.EventStream.Subscribe(seen, typeof(BackendEvents.DeviceError));
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        await seen.ExpectMsgAsync<BackendEvents.DeviceError>(Patience);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.False(guest.IsCrashed);
    }

    [Fact]
    public async Task An_error_of_a_bridge_is_one_of_every_device_below_it()
    {
        var (port, other) = (HostBdf.Parse("0000:00:1c.0"), HostBdf.Parse("0000:00:1d.0"));
        Xen.Pci.Plug(Intel82574.At(HostBdf.Parse("0000:06:00.0")).Behind(port));
        Xen.Pci.Plug(Intel82574.At(HostBdf.Parse("0000:07:00.0")).Behind(port, HostBdf.Parse("0000:06:00.1")));
        Xen.Pci.Plug(Intel82574.At(HostBdf.Parse("0000:08:00.0")).Behind(other));
        var killed = Killed();
        var below = await ConnectedGuestAsync("below", HostBdf.Parse("0000:06:00.0"));
        var deeper = await ConnectedGuestAsync("deeper", HostBdf.Parse("0000:07:00.0"));
        var beside = await ConnectedGuestAsync("beside", HostBdf.Parse("0000:08:00.0"));

        Xen.Aer.Inject(port, AerSeverity.Fatal, MalformedTlp);

        DomainId[] ended = [(await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest];
        Assert.Equal([below.Id, deeper.Id], ended.OrderBy(id => id.Value));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(beside, 0, 0, 4));
        Assert.False(beside.IsCrashed);
    }

    [Fact]
    public async Task A_fatal_error_takes_what_shares_its_port_because_the_host_resets_that()
    {
        var port = HostBdf.Parse("0000:00:1c.0");
        var (first, second) = (HostBdf.Parse("0000:06:00.0"), HostBdf.Parse("0000:06:00.1"));
        foreach (var function in (HostBdf[])[first, second]) Xen.Pci.Plug(Intel82574.At(function).Behind(port));
        var killed = Killed();
        var one = await ConnectedGuestAsync("one", first);
        var two = await ConnectedGuestAsync("two", second);

        Xen.Aer.Inject(first, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(one.Id, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(two, 1, 0, 4));

        Xen.Aer.Inject(first, AerSeverity.Fatal, MalformedTlp);
        Assert.Equal(two.Id, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest);
    }

    [Fact]
    public async Task With_detach_the_toolstack_takes_the_device_away_and_the_guest_goes_on()
    {
        await RestartBackendAsync(Settings with { Aer = Settings.Aer with { ByDevice = Settings.Aer.ByDevice.Add(Nic, AerResponse.Detach) } });
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
        await EventuallyAsync($"{Edu}", async () => string.Join(' ', await Xen.Toolstack.DevicesAsync(guest.Id)));
        Assert.False(guest.IsCrashed);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 1 << 3, 0, 4));
        Assert.NotNull(Quarantine.Find(Nic));
    }

    [Fact]
    public async Task With_report_nothing_happens_but_a_line_in_the_log()
    {
        await RestartBackendAsync(Settings with { Aer = Settings.Aer with { Response = AerResponse.Report } });
        var guest = await ConnectedGuestAsync("web", Nic);
        var seen = CreateTestProbe();
        Sys.EventStream.Subscribe(seen, typeof(BackendEvents.DeviceError));
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await seen.ExpectMsgAsync<BackendEvents.DeviceError>(Patience);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.False(guest.IsCrashed);
        Assert.Empty(Quarantine.Devices);
    }

    [Fact]
    public async Task A_device_that_is_pulled_out_ends_its_guest_at_the_next_access_to_it()
    {
        var killed = Killed();
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        Xen.Pci[Nic].IsPresent = false;
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 1 << 3, 0, 4));
        Assert.False(guest.IsCrashed);
        _ = guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
        Assert.Equal("it has gone from the host", (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason);
        Assert.NotNull(Quarantine.Find(Nic));
    }

    [Fact]
    public async Task Two_devices_of_a_guest_that_fail_at_once_are_both_set_aside_and_given_back()
    {
        var port = HostBdf.Parse("0000:00:1c.0");
        HostBdf[] cards = [HostBdf.Parse("0000:06:00.0"), HostBdf.Parse("0000:06:00.1")];
        foreach (var card in cards) Xen.Pci.Plug(Intel82574.At(card).Behind(port));
        var killed = Killed();
        await ConnectedGuestAsync("web", cards);
        Xen.Aer.Inject(port, AerSeverity.Fatal, MalformedTlp);
        await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.Equal(cards, Quarantine.Devices.Select(quarantined => quarantined.Device));
        await killed.ExpectNoMsgAsync(TimeSpan.FromMilliseconds(100));
    }

    [Fact]
    public async Task A_disk_that_is_slow_or_full_lets_nobody_have_a_device_that_was_lost()
    {
        Xen.OnCrash = OnCrash.Restart;
        using var slow = Xen.Faults.Arm(FaultPoint.RecordWrite, FaultKind.Stall);
        using var full = Xen.Faults.Arm(FaultPoint.RecordWrite, times: 3, errno: Errnos.ENOSPC);
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);

        await EventuallyAsync(true, () => Xen.Guests.Any(next => next.Name == "web" && next.Id != guest.Id));
        await EventuallyAsync(true, async () => (await ReadErrorAsync(Xen.Guests.Single()))?.Contains("in quarantine", StringComparison.Ordinal) == true);
        Assert.Empty(Xen.LastingRecords.Names);
        slow.Dispose();
        await EventuallyAsync($"{Nic}", () => string.Join(' ', Xen.LastingRecords.Names));
        Assert.Equal(3, full.Struck);
    }

    [Fact]
    public async Task An_error_that_comes_while_a_failed_actor_is_replaced_is_not_forgotten()
    {
        var killed = Killed();
        var guest = await ConnectedGuestAsync("web", Nic);
        using var opening = Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Nic);
        using var bug = Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        _ = guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
        await EventuallyAsync(1, () => opening.Struck);
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await EventuallyAsync(true, () => Quarantine.Find(Nic) is not null);
        Assert.False(guest.IsCrashed);
        opening.Dispose();
        Assert.Equal(guest.Id, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest);
    }

    [Fact]
    public async Task An_error_while_no_daemon_ran_ends_its_guest_when_one_runs_again()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var bystander = await ConnectedGuestAsync("lab", Edu);
        await StopBackendAsync();
        Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        var killed = Killed();
        await StartBackendAsync();
        Assert.Equal(guest.Id, (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Guest);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
    }

    [Fact]
    public async Task An_error_of_a_device_that_nobody_had_does_not_concern_its_next_guest()
    {
        var seen = CreateTestProbe();
        Sys.EventStream.Subscribe(seen, typeof(BackendEvents.DeviceError));
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await seen.ExpectMsgAsync<BackendEvents.DeviceError>(Patience);
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal(0x0200_0000u, await ReadConfigAsync(guest, 0, Revision, 4));
        Assert.False(guest.IsCrashed);
        Assert.Null(Quarantine.Find(Nic));
    }

    [Fact]
    public async Task A_feed_of_errors_that_cannot_be_watched_is_tried_again_after_a_pause()
    {
        using var fault = Xen.Faults.Arm(FaultPoint.ErrorFeed, times: 5);
        await RestartBackendAsync(Settings);
        await EventuallyAsync(1, () => Xen.Aer.Watchers);
        Assert.Equal(5, fault.Struck);
    }

    [Fact]
    public async Task A_guest_that_the_hypervisor_does_not_crash_goes_on_without_its_device()
    {
        foreach (var kind in (FaultKind[])[FaultKind.Error, FaultKind.Bug])
        {
            var killed = Killed();
            using var fault = Xen.Faults.Arm(FaultPoint.DomainCrash, kind, errno: Errnos.EPERM);
            var guest = await ConnectedGuestAsync($"web-{kind}", Nic);
            Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
            Assert.NotNull((await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Fault);
            Assert.False(guest.IsCrashed);
            await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
            await Xen.DestroyGuestAsync(guest);
            await EventuallyAsync(true, () => Quarantine.Clear(Nic));
        }
    }

    [Fact]
    public async Task Too_many_correctable_errors_are_an_uncorrectable_one()
    {
        await RestartBackendAsync(Settings with { Aer = Settings.Aer with { CorrectableLimit = 10, CorrectableWindow = TimeSpan.FromHours(1) } });
        var (killed, seen) = (Killed(), CreateTestProbe());
        Sys.EventStream.Subscribe(seen, typeof(BackendEvents.DeviceError));
        var guest = await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 10; i++) Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        for (var i = 0; i < 10; i++) await seen.ExpectMsgAsync<BackendEvents.DeviceError>(Patience);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.False(guest.IsCrashed);
        Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        Assert.Contains("correctable: Receiver Error", (await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_that_was_being_opened_for_the_guest_is_let_go_of()
    {
        Xen.OnCrash = OnCrash.Preserve;
        using var letGo = new ManualResetEventSlim();
        var hooks = await RestartWithHooksAsync(Sata);
        var guest = await ConnectedGuestAsync("web", Nic);
        var opening = false;
        hooks.Pci.Opening = () =>
        {
            Volatile.Write(ref opening, true);
            letGo.Wait(Patience);
            hooks.Pci.Opening = () => { };
        };
        await Xen.Toolstack.AttachAsync(guest.Id, Sata);
        await EventuallyAsync(true, () => Volatile.Read(ref opening));
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        await EventuallyAsync(true, () => guest.IsCrashed);
        letGo.Set();
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_monitor_that_fails_is_followed_by_one_that_knows_the_guests()
    {
        var killed = Killed();
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Tell(new Host.AerReport.Met(null!));
        await EventuallyAsync(1, () => Xen.Aer.Watchers);
        await EventuallyAsync(true, async () =>
        {
            Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
            await Task.Delay(20);
            return killed.HasMessages;
        });
        Assert.True(guest.IsCrashed);
    }

    [Fact]
    public async Task An_error_that_a_guests_actor_did_not_come_to_see_to_is_the_next_ones()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var opening = Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Nic);
        Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: guest.Id);
        var read = guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
        await EventuallyAsync(1, () => opening.Struck);
        var connecting = Xen.Faults.Arm(FaultPoint.PortBind, FaultKind.Bug, guest: guest.Id);
        var heard = CreateTestProbe();
        Sys.EventStream.Subscribe(heard, typeof(BackendEvents.DeviceError));
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, CompletionTimeout);
        await heard.ExpectMsgAsync<BackendEvents.DeviceError>(Patience);
        opening.Dispose();
        await EventuallyAsync(1, () => connecting.Struck);
        await EventuallyAsync(true, () => guest.IsCrashed);
        GC.KeepAlive(read);
    }

    [Fact]
    public async Task A_storm_of_errors_is_one_death()
    {
        var killed = Killed();
        await ConnectedGuestAsync("web", Nic);
        var bystander = await ConnectedGuestAsync("lab", Edu);
        for (var i = 0; i < 1000; i++) Xen.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        await killed.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
        await killed.ExpectNoMsgAsync(TimeSpan.FromMilliseconds(100));
    }
}
