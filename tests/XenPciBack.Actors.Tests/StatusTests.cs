using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Actors.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>What the daemon says of itself: the status, the incidents, a device's registers as its guest sees them.</summary>
public class StatusTests() : BackendTest(Quiet + "\nakka.actor.telemetry.enabled = on")
{
    private const uint MalformedTlp = 1 << 18, BadTlp = 1 << 6;
    private const uint UnknownRequest = 77;

    [Fact]
    public async Task Each_operation_of_a_guest_is_counted_by_what_it_was_and_how_it_ended()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var before = OperationsOf(await StatusOfAsync(guest));
        for (var i = 0; i < 10; i++) await ReadConfigAsync(guest, 0, 0, 4);
        for (var i = 0; i < 3; i++) await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x0C, 1, 0x10);
        await guest.Frontend.ReadConfigAsync(0, 1, 0, 0, 4);
        await guest.Frontend.ReadConfigAsync(0, 0, 0, 1, 4);
        await AskAsync(guest, UnknownRequest);
        var after = OperationsOf(await StatusOfAsync(guest));
        Assert.Equal([("conf_read/dev_not_found", 1), ("conf_read/invalid_offset", 1), ("conf_read/ok", 10), ("conf_write/ok", 3), ("unknown/not_implemented", 1)],
            after.Select(now => (now.Key, now.Value - before.GetValueOrDefault(now.Key))).Where(more => more.Item2 > 0).OrderBy(more => more.Key));
    }

    [Fact]
    public async Task The_status_says_what_a_guest_has_and_how_fast_it_is_served()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        var host = await StatusAsync();
        Assert.Equal(("dom0", Xen.StartProcess().Host.Hypervisor.Version), (host.Host, host.Xen));
        var status = Assert.Single(host.Guests);
        Assert.Equal((guest.Id, "web", XenbusState.Connected, Topology.Vpci), (status.Domain, status.Name, status.State, status.Topology));
        Assert.Equal((Nic, 0x8086, 0x10D3, 0x02_0000u, "MSI-X", 3), Facts(status.Devices[0]));
        Assert.Equal((Edu, 0x1234, 0x11E8, 0x00_FF00u, "line", 0), Facts(status.Devices[1]));
        Assert.Equal("0000:00:01.0", status.Devices[1].Virtual.ToString());
        Assert.True(status.Rate > 0);
        Assert.InRange(status.Latency!.Median, 0.1, status.Latency.P99);
        Assert.InRange(status.Latency.P99, status.Latency.Median, status.Latency.Longest);
        Assert.True((await StatusAsync()).Number > host.Number);
    }

    [Fact]
    public async Task What_an_actor_has_counted_stays_when_another_one_takes_its_guest_up()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var before = OperationsOf(await StatusOfAsync(guest))["conf_read/ok"];
        using var bug = Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        await ReadConfigAsync(guest, 0, 0x08, 4);
        Assert.InRange(OperationsOf(await StatusOfAsync(guest))["conf_read/ok"], before + 1, before + 2);
        var incident = await IncidentAsync(IncidentKind.Restarted);
        Assert.Equal((guest.Id, "/user/pci-backend"), (incident.Guest, incident.Path[^1].Split(' ')[0]));
        Assert.DoesNotContain(await AllIncidentsAsync(), other => other.Kind == IncidentKind.Adopted);
        Assert.Equal(1, Measured.Sum("xenpciback.actor.restarts", ("actor", "GuestActor")));
    }

    [Fact]
    public async Task An_actor_that_failed_for_one_guest_is_not_blamed_on_another()
    {
        var (web, lab) = (await ConnectedGuestAsync("web", Nic), await ConnectedGuestAsync("lab", Edu));
        Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: lab.Id);
        await Task.WhenAll(web.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4), lab.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4));
        await EventuallyAsync(2, async () => (await AllIncidentsAsync()).Count(incident => incident.Kind == IncidentKind.Restarted));
        foreach (var (guest, fault) in ((SimulatedGuest, string)[])[(web, "at ConfigRead"), (lab, "at Notify")])
            Assert.EndsWith(fault, (await AllIncidentsAsync()).Single(incident => incident.Guest == guest.Id).Summary, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_guest_that_is_killed_is_told_of_with_the_decoded_error_and_the_way_it_took()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        var killed = await IncidentAsync(IncidentKind.GuestKilled);
        Assert.Equal((guest.Id, Nic), (killed.Guest, killed.Device));
        Assert.Contains("bit 18: Malformed TLP", killed.Details);
        Assert.Collection(killed.Path,
            step => Assert.StartsWith($"/user/pci-backend/guest-{guest.Id}/{Nic} DeviceActor: its device is lost, fatal: Malformed TLP", step, StringComparison.Ordinal),
            step => Assert.StartsWith($"/user/pci-backend/guest-{guest.Id} GuestActor: fails", step, StringComparison.Ordinal),
            step => Assert.StartsWith("/user/pci-backend BackendSupervisor: crashed the guest", step, StringComparison.Ordinal));
        Assert.Equal(Nic, (await IncidentAsync(IncidentKind.Quarantined)).Device);
        await EventuallyAsync(Nic, async () => (await StatusAsync()).Quarantine.Select(quarantined => quarantined.Device).SingleOrDefault());
        // The error is told of with the death, not beside it.
        Assert.DoesNotContain(await AllIncidentsAsync(), incident => incident.Kind == IncidentKind.DeviceError);
        Assert.Equal((1, 1, 1), (Measured.Sum("xenpciback.guest.kills"), Measured.Sum("xenpciback.devices.quarantined"), Measured.Sum("xenpciback.aer.errors", ("severity", "fatal"), ("status", "Malformed TLP"))));
        Quarantine.Clear(Nic);
        await EventuallyAsync(0, async () => (await StatusAsync()).Quarantine.Length);
    }

    [Fact]
    public async Task A_storm_of_correctable_errors_is_counted_one_by_one_and_told_of_by_its_size()
    {
        await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 1000; i++) Xen.Aer.Inject(Nic, AerSeverity.Correctable, BadTlp);
        await EventuallyAsync(1000L, () => Measured.Sum("xenpciback.aer.errors", ("device", Nic.ToString()), ("severity", "correctable"), ("status", "Bad TLP")));
        // The first, the tenth, the hundredth and the thousandth.
        Assert.Equal(4, (await AllIncidentsAsync()).Count(incident => incident.Kind == IncidentKind.DeviceError));
    }

    [Fact]
    public async Task A_guest_of_an_earlier_daemon_is_told_of_as_taken_up()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await RestartBackendAsync(Settings);
        Assert.Equal(guest.Id, (await IncidentAsync(IncidentKind.Adopted)).Guest);
        await ReadConfigAsync(guest, 0, 0, 4);
        Assert.Equal(1, Measured.Sum("xenpciback.guest.adoptions"));
        Assert.Equal("conf_read/ok", Assert.Single(OperationsOf(await StatusOfAsync(guest))).Key);
    }

    [Fact]
    public async Task A_guest_that_breaks_the_protocol_is_accused_once_for_each_way()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 10; i++)
        {
            await AskAsync(guest, UnknownRequest);
            await guest.Frontend.ReadConfigAsync(0, 0, 0, 1, 4);
        }
        await EventuallyAsync(2, async () => (await AllIncidentsAsync()).Count(incident => incident.Kind == IncidentKind.Misbehaved && incident.Guest == guest.Id));
        Assert.Equal(2, Measured.Sum("xenpciback.guest.violations"));
    }

    [Fact]
    public async Task Nothing_is_left_of_a_guest_that_is_gone()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.NotEmpty(SeriesOf(guest));
        var operations = Measured.Recorded("xenpciback.operation.duration");
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(0, () => SeriesOf(guest).Count);
        Assert.Empty((await StatusAsync()).Guests);
        Assert.Equal(0, Measured.Sum("xenpciback.guests"));
        Assert.True(operations > 0);
    }

    [Fact]
    public async Task Config_writes_are_counted_by_what_the_rules_let_through()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        long Of(string fate) => Measured.Sum("xenpciback.config.writes", ("fate", fate));
        var before = (Of("allowed"), Of("filtered"), Of("dropped"));
        foreach (var (offset, size, value) in ((int, int, uint)[])[(0x0C, 1, 0x10), (0x04, 2, 0x0147), (0x06, 2, 0xFFFF), (0x3D, 1, 0x02)])
            await guest.Frontend.WriteConfigAsync(0, 0, 0, offset, size, value);
        Assert.Equal((before.Item1 + 1, before.Item2 + 1, before.Item3 + 2), (Of("allowed"), Of("filtered"), Of("dropped")));
    }

    [Fact]
    public async Task Each_operation_is_in_the_histogram_once_however_often_it_is_read()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answered = guest.Frontend.AnsweredRequests;
        for (var i = 0; i < 3; i++) Measured.Scrape();
        Assert.Equal(answered, Measured.Recorded("xenpciback.operation.duration"));
        Assert.True(Measured.Recorded("xenpciback.event.dispatch.duration") > 0);
        Assert.True(Measured.Recorded("xenpciback.xenstore.request.duration") > 0);
    }

    [Fact]
    public async Task The_view_of_a_device_shows_what_is_virtual_and_by_which_rule()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0146);
        var view = await StatusKeeper.Ask<ConfigView>(new GetConfigView(guest.Id, Nic), Patience);
        Assert.Equal((guest.Id, Nic, 4096, 4096), (view.Domain, view.Function, view.Guest.Length, view.Device.Length));
        var command = view.Fields.Single(field => field.Name == "Command");
        Assert.Equal((0x04, 2), (command.Offset, command.Size));
        Assert.Contains("bus mastering and MWI are the guest's", command.Rule, StringComparison.Ordinal);
        Assert.Null(view.Fields.Single(field => field.Name == "Status").Rule);
        for (var i = 0; i < 2; i++) Assert.Equal((0x0146 >> (8 * i)) & 0xFF, view.Guest[0x04 + i]);
        Assert.Equal(Xen.Pci[Nic].Read(0x04, 2), (uint)(view.Device[0x04] | view.Device[0x05] << 8));
        Assert.All(view.Fields.Zip(view.Fields.Skip(1)), pair => Assert.True(pair.First.Offset + pair.First.Size <= pair.Second.Offset));
    }

    [Fact]
    public async Task A_device_that_a_guest_does_not_have_has_no_view()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal($"guest {guest.Id} has no device {Edu}", (await StatusKeeper.Ask<NoConfigView>(new GetConfigView(guest.Id, Edu), Patience)).Reason);
        Assert.Equal("guest 99 is not served here", (await StatusKeeper.Ask<NoConfigView>(new GetConfigView(new DomainId(99), Nic), Patience)).Reason);
    }

    [Fact]
    public async Task Actors_that_start_and_end_are_counted_by_their_class()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await EventuallyAsync(2, () => Measured.Sum("xenpciback.actor.starts", ("actor", "DeviceActor")));
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(1, () => Measured.Sum("xenpciback.actor.stops", ("actor", "GuestActor")));
    }

    [Fact]
    public async Task The_record_of_the_quarantine_is_read_when_it_has_changed_and_when_the_backend_begins_and_not_otherwise()
    {
        var (records, reads) = (new MemoryRecords(), 0);
        var quarantine = new Quarantine(new ReadRecords(records, () => Interlocked.Increment(ref reads)));
        var probe = CreateTestProbe();
        Sys.EventStream.Subscribe(probe, typeof(HostStatus));
        var keeper = Sys.ActorOf(StatusActor.Props(TimeProvider.System, new BackendMeters(TimeProvider.System), quarantine, "quiet", "4.20"));
        async Task<HostStatus> PublishedAsync(Predicate<HostStatus> isIt) => (HostStatus)await probe.FishForMessageAsync(message => message is HostStatus { Host: "quiet" } status && isIt(status), Patience);

        var first = await PublishedAsync(_ => true);
        await PublishedAsync(status => status.Number == first.Number + 3);
        Assert.Equal(1, Volatile.Read(ref reads));

        quarantine.Hold(new QuarantinedDevice(Nic, new DomainId(5), DateTimeOffset.UnixEpoch, "fatal"));
        await PublishedAsync(status => status.Quarantine.Length == 1);
        quarantine.Clear(Nic);
        await PublishedAsync(status => status.Quarantine.IsEmpty);

        // The daemon that served before this one.
        var (before, lost) = (new Quarantine(records), new QuarantinedDevice(Edu, new DomainId(6), DateTimeOffset.UnixEpoch, "fatal"));
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
    public async Task What_was_asked_of_a_device_that_is_taken_away_stays_counted_with_its_guest()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        for (var i = 0; i < 500; i++) await ReadConfigAsync(guest, 8, 0, 4);
        var before = OperationsOf(await StatusOfAsync(guest))["conf_read/ok"];
        await Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await EventuallyAsync(1, async () => (await StatusOfAsync(guest)).Devices.Length);
        Assert.InRange(OperationsOf(await StatusOfAsync(guest))["conf_read/ok"], before, before + 400);
    }

    [Fact]
    public async Task What_was_written_to_a_device_stays_counted_when_another_actor_takes_it_up()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 100; i++) await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x0C, 1, 0x10);
        var before = Measured.Sum("xenpciback.config.writes");
        Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Nic);
        await guest.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4);
        await IncidentAsync(IncidentKind.Restarted);
        await ReadConfigAsync(guest, 0, 0x08, 4);
        Assert.Equal(before, Measured.Sum("xenpciback.config.writes"));
    }

    [Fact]
    public async Task A_device_whose_driver_is_being_taken_through_an_error_is_said_to_recover()
    {
        const int canRecover = 2, recovered = 5;
        await RestartBackendAsync(Settings with { Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = TimeSpan.FromHours(1) } });
        var driver = new TaskCompletionSource();
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions
        {
            TakesAer = true,
            Driver = async question =>
            {
                await driver.Task;
                return question.Command == 6 ? canRecover : recovered;
            },
        });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.False((await StatusOfAsync(guest)).Devices[0].IsRecovering);
        Xen.Aer.Inject(Nic, AerSeverity.NonFatal, 1 << 14);
        await EventuallyAsync(true, async () => (await StatusOfAsync(guest)).Devices[0].IsRecovering);
        driver.SetResult();
        await EventuallyAsync(false, async () => (await StatusOfAsync(guest)).Devices[0].IsRecovering);
        Assert.Equal(guest.Id, (await IncidentAsync(IncidentKind.Recovered)).Guest);
    }

    [Fact]
    public async Task A_daemon_serves_since_it_has_found_its_guests()
    {
        await StopBackendAsync();
        var made = DateTimeOffset.MaxValue;
        await StartBackendAsync(host =>
        {
            made = DateTimeOffset.UtcNow;
            return host;
        });
        await EventuallyAsync(true, async () => (await StatusAsync()).Since >= made);
    }

    [Fact]
    public async Task A_connection_to_xenstored_that_takes_the_place_of_a_lost_one_is_counted()
    {
        Assert.Equal((1, 0), (Measured.Sum("xenpciback.xenstore.connections"), Measured.Sum("xenpciback.xenstore.reconnects")));
        await Xen.RestartXenStoredAsync();
        await EventuallyAsync((1L, 1L), () => (Measured.Sum("xenpciback.xenstore.connections"), Measured.Sum("xenpciback.xenstore.reconnects")));
    }

    private static (HostBdf, int, int, uint, string, int) Facts(DeviceStatus device) =>
        (device.Device, device.VendorId, device.DeviceId, device.ClassCode, device.Interrupts, device.Vectors);

    private static Dictionary<string, long> OperationsOf(GuestStatus guest) => guest.Operations.ToDictionary(count => $"{count.Operation}/{count.Result}", count => count.Count);

    private List<Measurements.Series> SeriesOf(SimulatedGuest guest) => [.. Measured.Scrape().Where(series => series.Tags.GetValueOrDefault("domain") == guest.Id.ToString())];

    private Task<HostStatus> StatusAsync() => StatusKeeper.Ask<HostStatus>(GetStatus.Instance, Patience);

    private async Task<GuestStatus> StatusOfAsync(SimulatedGuest guest) => (await StatusAsync()).Guests.Single(status => status.Domain == guest.Id);

    private async Task<ImmutableArray<Incident>> AllIncidentsAsync() => (await StatusKeeper.Ask<Incidents>(new GetIncidents(0), Patience)).Latest;

    private async Task<Incident> IncidentAsync(IncidentKind kind)
    {
        await EventuallyAsync(true, async () => (await AllIncidentsAsync()).Any(incident => incident.Kind == kind));
        return (await AllIncidentsAsync()).First(incident => incident.Kind == kind);
    }
}
