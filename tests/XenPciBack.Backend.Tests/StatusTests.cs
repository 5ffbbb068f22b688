using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests;

/// <summary>What the daemon says of itself: status, incidents, a device's registers as its guest sees them.</summary>
public class StatusTests
{
    private const string Telemetry = "akka.actor.telemetry.enabled = on";
    private const uint MalformedTlp = 1 << 18, BadTlp = 1 << 6;
    private const uint UnknownRequest = 77;

    private static readonly Register Misaligned = new(1, 4);

    [Fact]
    public async Task Each_operation_of_a_guest_is_counted_by_what_it_was_and_how_it_ended()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var before = OperationsOf(await StatusOfAsync(dom0, guest));
        for (var i = 0; i < 10; i++) await guest.Device(0).ReadAsync(Register.Ids);
        for (var i = 0; i < 3; i++) await guest.Device(0).WriteAsync(Register.CacheLineSize, 0x10);
        await guest.DeviceAt("0000:01:00.0").TryReadAsync(Register.Ids);
        await guest.Device(0).TryReadAsync(Misaligned);
        await guest.Device(0).AskAsync(UnknownRequest);
        var after = OperationsOf(await StatusOfAsync(dom0, guest));
        var more = after.Select(now => (now.Key, Count: now.Value - before.GetValueOrDefault(now.Key)));
        Assert.Equal(
            [
                ("conf_read/dev_not_found", 1), ("conf_read/invalid_offset", 1), ("conf_read/ok", 10),
                ("conf_write/ok", 3), ("unknown/not_implemented", 1),
            ],
            more.Where(one => one.Count > 0).OrderBy(one => one.Key));
    }

    [Fact]
    public async Task The_status_says_what_a_guest_has_and_how_fast_it_is_served()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await guest.Device(0).TurnOnAsync();
        await guest.Device(0).EnableMsixAsync(0, 1, 2);
        var host = await StatusAsync(dom0);
        Assert.Equal(("dom0", dom0.Xen.StartProcess().Host.Hypervisor.Version), (host.Host, host.Xen));
        var status = Assert.Single(host.Guests);
        Assert.Equal(
            (guest.Id, "web", XenbusState.Connected, Topology.Vpci),
            (status.Domain, status.Name, status.State, status.Topology));
        Assert.Equal((Nic, 0x8086, 0x10D3, 0x02_0000u, "MSI-X", 3), Facts(status.Devices[0]));
        Assert.Equal((Edu, 0x1234, 0x11E8, 0x00_FF00u, "line", 0), Facts(status.Devices[1]));
        Assert.Equal("0000:00:01.0", status.Devices[1].Virtual.ToString());
        Assert.True(status.Rate > 0);
        Assert.InRange(status.Latency!.Median, 0.1, status.Latency.P99);
        Assert.InRange(status.Latency.P99, status.Latency.Median, status.Latency.Longest);
        Assert.True((await StatusAsync(dom0)).Number > host.Number);
    }

    [Fact]
    public async Task What_an_actor_has_counted_stays_when_another_one_adopts_its_guest()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var before = OperationsOf(await StatusOfAsync(dom0, guest))["conf_read/ok"];
        using var bug = dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        await guest.Device(0).ReadAsync(Register.Revision);
        Assert.InRange(OperationsOf(await StatusOfAsync(dom0, guest))["conf_read/ok"], before + 1, before + 2);
        var incident = await IncidentAsync(dom0, IncidentKind.Restarted);
        Assert.Equal((guest.Id, "/user/pci-backend"), (incident.Guest, incident.Path[^1].Split(' ')[0]));
        Assert.DoesNotContain(await AllIncidentsAsync(dom0), other => other.Kind == IncidentKind.Adopted);
        Assert.Equal(1, dom0.Measured.Sum("xenpciback.actor.restarts", ("actor", "GuestActor")));
    }

    [Fact]
    public async Task An_actor_that_failed_for_one_guest_is_not_blamed_on_another()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var web = await dom0.ConnectedGuestAsync("web", Nic);
        var lab = await dom0.ConnectedGuestAsync("lab", Edu);
        dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        dom0.Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: lab.Id);
        foreach (var guest in (SimulatedGuest[])[web, lab]) await guest.Device(0).TryReadAsync(Register.Revision);
        await Eventually.EqualAsync(2, async () =>
            (await AllIncidentsAsync(dom0)).Count(incident => incident.Kind == IncidentKind.Restarted));
        foreach (var (guest, fault) in ((SimulatedGuest, string)[])[(web, "at ConfigRead"), (lab, "at Notify")])
        {
            var incident = (await AllIncidentsAsync(dom0)).Single(incident => incident.Guest == guest.Id);
            Assert.EndsWith(fault, incident.Summary, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_incident_of_a_killed_guest_has_the_decoded_error_and_what_each_actor_did()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true, akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        var killed = await IncidentAsync(dom0, IncidentKind.GuestKilled);
        Assert.Equal((guest.Id, Nic), (killed.Guest, killed.Device));
        Assert.Contains("bit 18: Malformed TLP", killed.Details);
        Assert.Collection(killed.Path,
            step => Assert.Equal("/user/pci-backend/aer AerMonitor: fatal: Malformed TLP", step),
            step => Assert.StartsWith(
                "/user/pci-backend BackendSupervisor: crashed the guest", step, StringComparison.Ordinal));
        Assert.Equal(Nic, (await IncidentAsync(dom0, IncidentKind.Quarantined)).Device);
        // The status is made again each second.
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync($"{Nic}", async () =>
            string.Join(' ', (await StatusAsync(dom0)).Quarantine.Select(quarantined => quarantined.Device))));
        // The error is part of the death's incident and has none of its own.
        Assert.DoesNotContain(await AllIncidentsAsync(dom0), incident => incident.Kind == IncidentKind.DeviceError);
        Assert.Equal(1, dom0.Measured.Sum("xenpciback.guest.kills"));
        Assert.Equal(1, dom0.Measured.Sum("xenpciback.devices.quarantined"));
        Assert.Equal(
            1, dom0.Measured.Sum("xenpciback.aer.errors", ("severity", "fatal"), ("status", "Malformed TLP")));
        dom0.Quarantine.Clear(Nic);
        await dom0.AdvanceUntilDoneAsync(
            Eventually.EqualAsync(0, async () => (await StatusAsync(dom0)).Quarantine.Length));
    }

    [Fact]
    public async Task A_storm_of_correctable_errors_is_counted_one_by_one_and_has_an_incident_for_each_power_of_ten()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        await dom0.ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 1000; i++) dom0.Xen.Aer.Inject(Nic, AerSeverity.Correctable, BadTlp);
        await Eventually.EqualAsync(1000L, () => dom0.Measured.Sum(
            "xenpciback.aer.errors", ("device", $"{Nic}"), ("severity", "correctable"), ("status", "Bad TLP")));
        // The first, the tenth, the hundredth and the thousandth.
        Assert.Equal(4, (await AllIncidentsAsync(dom0)).Count(incident => incident.Kind == IncidentKind.DeviceError));
    }

    [Fact]
    public async Task A_guest_of_an_earlier_daemon_has_an_incident_as_adopted()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.RestartDaemonAsync(TestDom0.Settings);
        Assert.Equal(guest.Id, (await IncidentAsync(dom0, IncidentKind.Adopted)).Guest);
        await guest.Device(0).ReadAsync(Register.Ids);
        Assert.Equal(1, dom0.Measured.Sum("xenpciback.guest.adoptions"));
        Assert.Equal("conf_read/ok", Assert.Single(OperationsOf(await StatusOfAsync(dom0, guest))).Key);
    }

    [Fact]
    public async Task A_guest_that_breaks_the_protocol_is_accused_once_for_each_way()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 10; i++)
        {
            await guest.Device(0).AskAsync(UnknownRequest);
            await guest.Device(0).TryReadAsync(Misaligned);
        }
        await Eventually.EqualAsync(2, async () => (await AllIncidentsAsync(dom0)).Count(
            incident => incident.Kind == IncidentKind.Misbehaved && incident.Guest == guest.Id));
        Assert.Equal(2, dom0.Measured.Sum("xenpciback.guest.violations"));
    }

    [Fact]
    public async Task Nothing_is_left_of_a_guest_that_is_gone()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        Assert.NotEmpty(SeriesOf(dom0, guest));
        var operations = dom0.Measured.Recorded("xenpciback.operation.duration");
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(0, () => SeriesOf(dom0, guest).Count);
        Assert.Empty((await StatusAsync(dom0)).Guests);
        Assert.Equal(0, dom0.Measured.Sum("xenpciback.guests"));
        Assert.True(operations > 0);
    }

    [Fact]
    public async Task Config_writes_are_counted_by_what_the_rules_let_through()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        long Of(string fate) => dom0.Measured.Sum("xenpciback.config.writes", ("fate", fate));
        var before = (Of("allowed"), Of("filtered"), Of("dropped"));
        await guest.Device(0).WriteAsync(Register.CacheLineSize, 0x10);
        await guest.Device(0).WriteAsync(Register.Command, 0x0147);
        await guest.Device(0).WriteAsync(Register.Status, 0xFFFF);
        await guest.Device(0).WriteAsync(Register.InterruptPin, 0x02);
        Assert.Equal(
            (before.Item1 + 1, before.Item2 + 1, before.Item3 + 2), (Of("allowed"), Of("filtered"), Of("dropped")));
    }

    [Fact]
    public async Task Each_operation_is_in_the_histogram_once_however_often_it_is_read()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var answered = guest.Frontend.AnsweredRequests;
        for (var i = 0; i < 3; i++) dom0.Measured.Scrape();
        Assert.Equal(answered, dom0.Measured.Recorded("xenpciback.operation.duration"));
        Assert.True(dom0.Measured.Recorded("xenpciback.event.dispatch.duration") > 0);
        Assert.True(dom0.Measured.Recorded("xenpciback.xenstore.request.duration") > 0);
    }

    [Fact]
    public async Task The_view_of_a_device_shows_what_is_virtual_and_by_which_rule()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(Register.Command, 0x0146);
        var view = await dom0.StatusKeeper.Ask<ConfigView>(new GetConfigView(guest.Id, Nic), Eventually.Patience);
        Assert.Equal((guest.Id, Nic, 4096, 4096), (view.Domain, view.Function, view.Guest.Length, view.Device.Length));
        var command = view.Fields.Single(field => field.Name == "Command");
        Assert.Equal((0x04, 2), (command.Offset, command.Size));
        Assert.Contains("bus mastering and MWI are the guest's", command.Rule, StringComparison.Ordinal);
        Assert.Null(view.Fields.Single(field => field.Name == "Status").Rule);
        for (var i = 0; i < 2; i++) Assert.Equal((0x0146 >> (8 * i)) & 0xFF, view.Guest[0x04 + i]);
        Assert.Equal(dom0.Xen.Pci[Nic].Read(0x04, 2), (uint)(view.Device[0x04] | view.Device[0x05] << 8));
        Assert.All(
            view.Fields.Zip(view.Fields.Skip(1)),
            pair => Assert.True(pair.First.Offset + pair.First.Size <= pair.Second.Offset));
    }

    [Fact]
    public async Task A_device_that_a_guest_does_not_have_has_no_view()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        async Task<string> ReasonAsync(DomainId domain, HostBdf device) => (await dom0.StatusKeeper.Ask<NoConfigView>(
            new GetConfigView(domain, device), Eventually.Patience)).Reason;
        Assert.Equal($"guest {guest.Id} has no device {Edu}", await ReasonAsync(guest.Id, Edu));
        Assert.Equal("guest 99 is not served here", await ReasonAsync(new DomainId(99), Nic));
    }

    [Fact]
    public async Task Actors_that_start_and_end_are_counted_by_their_class()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await Eventually.EqualAsync(2, () => dom0.Measured.Sum("xenpciback.actor.starts", ("actor", "DeviceActor")));
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(1, () => dom0.Measured.Sum("xenpciback.actor.stops", ("actor", "GuestActor")));
    }

    [Fact]
    public async Task The_record_of_the_quarantine_is_read_when_it_has_changed_and_when_the_backend_begins_only()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true, withDaemon: false);
        var (records, reads) = (new MemoryRecords(), 0);
        var quarantine = new Quarantine(new ReadRecords(records, () => Interlocked.Increment(ref reads)));
        using var meters = new BackendMeters(dom0.Xen.Clock);
        var keeper = dom0.System.ActorOf(StatusActor.Props(dom0.Xen.Clock, meters, quarantine, "quiet", "4.20"));
        // Each second there is one more.
        Task PublishedAsync(Predicate<HostStatus> isIt) => dom0.AdvanceUntilDoneAsync(
            Eventually.IsTrueAsync(() => dom0.Events.Of<HostStatus>() is [.., var latest] && isIt(latest)),
            TimeSpan.FromSeconds(1));

        await PublishedAsync(status => status.Number > 3);
        Assert.Equal(1, Volatile.Read(ref reads));

        quarantine.Hold(new QuarantinedDevice(Nic, new DomainId(5), DateTimeOffset.UnixEpoch, "fatal"));
        await PublishedAsync(status => status.Quarantine.Length == 1);
        quarantine.Clear(Nic);
        await PublishedAsync(status => status.Quarantine.IsEmpty);

        // The daemon that served before this one.
        var before = new Quarantine(records);
        var lost = new QuarantinedDevice(Edu, new DomainId(6), DateTimeOffset.UnixEpoch, "fatal");
        before.Hold(lost);
        before.Record(lost);
        keeper.Tell(BackendEvents.Ready.Instance);
        await PublishedAsync(status => status.Quarantine.Length == 1);
    }

    private sealed class ReadRecords(IRecords records, Action onListed) : IRecords
    {
        public IReadOnlyList<string> Names
        {
            get
            {
                onListed();
                return records.Names;
            }
        }

        public string? Read(string name) => records.Read(name);

        public void Write(string name, string text) => records.Write(name, text);

        public void Remove(string name) => records.Remove(name);
    }

    [Fact]
    public async Task What_was_asked_of_a_device_that_is_detached_stays_counted_with_its_guest()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        for (var i = 0; i < 500; i++) await guest.Device(1).ReadAsync(Register.Ids);
        var before = OperationsOf(await StatusOfAsync(dom0, guest))["conf_read/ok"];
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await Eventually.EqualAsync(1, async () => (await StatusOfAsync(dom0, guest)).Devices.Length);
        Assert.InRange(OperationsOf(await StatusOfAsync(dom0, guest))["conf_read/ok"], before, before + 400);
    }

    [Fact]
    public async Task What_was_written_to_a_device_stays_counted_when_another_actor_adopts_it()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 100; i++) await guest.Device(0).WriteAsync(Register.CacheLineSize, 0x10);
        var before = dom0.Measured.Sum("xenpciback.config.writes");
        dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        await guest.Device(0).TryReadAsync(Register.Revision);
        await IncidentAsync(dom0, IncidentKind.Restarted);
        await guest.Device(0).ReadAsync(Register.Revision);
        Assert.Equal(before, dom0.Measured.Sum("xenpciback.config.writes"));
    }

    [Fact]
    public async Task A_device_whose_driver_is_being_taken_through_an_error_is_said_to_recover()
    {
        const int canRecover = 2, recovered = 5;
        var patience = TimeSpan.FromHours(1);
        var aer = TestDom0.Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = patience };
        await using var dom0 = await TestDom0.StartAsync(TestDom0.Settings with { Aer = aer });
        var driver = new TaskCompletionSource();
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], new FrontendOptions
        {
            TakesAer = true,
            Driver = async question =>
            {
                await driver.Task;
                return question.Command == 6 ? canRecover : recovered;
            },
        });
        Assert.False((await StatusOfAsync(dom0, guest)).Devices[0].IsRecovering);
        dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, 1 << 14);
        await Eventually.IsTrueAsync(async () => (await StatusOfAsync(dom0, guest)).Devices[0].IsRecovering);
        driver.SetResult();
        await Eventually.EqualAsync(false, async () => (await StatusOfAsync(dom0, guest)).Devices[0].IsRecovering);
        Assert.Equal(guest.Id, (await IncidentAsync(dom0, IncidentKind.Recovered)).Guest);
    }

    [Fact]
    public async Task A_daemon_serves_since_it_has_found_its_guests()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true, withDaemon: false);
        using var refusing = dom0.Xen.Faults.Arm(FaultPoint.StoreReply);
        await dom0.BeginDaemonAsync();
        await Eventually.EqualAsync(1, () => refusing.Struck);
        var started = dom0.Xen.Clock.GetUtcNow();
        Assert.Equal(started, (await StatusAsync(dom0)).Since);
        // Then it lists its guests again.
        await dom0.AdvanceUntilDoneAsync(dom0.Backend.Ask(WhenReady.Instance, Eventually.Patience));
        var retried = started + TestDom0.Settings.StoreRetry;
        await Eventually.IsTrueAsync(async () => (await StatusAsync(dom0)).Since >= retried);
    }

    [Fact]
    public async Task A_connection_to_xenstored_that_takes_the_place_of_a_lost_one_is_counted()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: Telemetry);
        (long, long) Counted() => (
            dom0.Measured.Sum("xenpciback.xenstore.connections"), dom0.Measured.Sum("xenpciback.xenstore.reconnects"));
        Assert.Equal((1L, 0L), Counted());
        await dom0.Xen.RestartXenStoredAsync();
        await Eventually.EqualAsync((1L, 1L), Counted);
    }

    private static (HostBdf, int, int, uint, string, int) Facts(DeviceStatus device) =>
        (device.Device, device.VendorId, device.DeviceId, device.ClassCode, device.Interrupts, device.Vectors);

    private static Dictionary<string, long> OperationsOf(GuestStatus guest) =>
        guest.Operations.ToDictionary(count => $"{count.Operation}/{count.Result}", count => count.Count);

    private static List<Measurements.Series> SeriesOf(TestDom0 dom0, SimulatedGuest guest) =>
        [.. dom0.Measured.Scrape().Where(series => series.Tags.GetValueOrDefault("domain") == guest.Id.ToString())];

    private static Task<HostStatus> StatusAsync(TestDom0 dom0) =>
        dom0.StatusKeeper.Ask<HostStatus>(GetStatus.Instance, Eventually.Patience);

    private static async Task<GuestStatus> StatusOfAsync(TestDom0 dom0, SimulatedGuest guest) =>
        (await StatusAsync(dom0)).Guests.Single(status => status.Domain == guest.Id);

    private static async Task<ImmutableArray<Incident>> AllIncidentsAsync(TestDom0 dom0) =>
        (await dom0.StatusKeeper.Ask<Incidents>(new GetIncidents(0), Eventually.Patience)).Latest;

    private static async Task<Incident> IncidentAsync(TestDom0 dom0, IncidentKind kind)
    {
        Incident? found = null;
        await Eventually.IsTrueAsync(async () =>
            (found = (await AllIncidentsAsync(dom0)).FirstOrDefault(incident => incident.Kind == kind)) is not null);
        return found!;
    }
}
