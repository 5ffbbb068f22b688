using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Supervision;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// Which guests get an actor, what they are told, and what follows when they end. The actors of guests are stand-ins, which do
/// what a test tells them; time is stopped.
/// </summary>
public class BackendSupervisorTests
{
    private static readonly DomainId Web = new(1), Lab = new(2);

    /// <summary>Published by a stand-in: the supervisor has started it.</summary>
    private sealed record Started(DomainId Guest, ImmutableArray<AerMonitor.Act> Errors);

    /// <summary>Published by a stand-in: the supervisor has told it something.</summary>
    private sealed record Told(DomainId Guest, object What);

    /// <summary>To a stand-in: end in good order.</summary>
    private sealed record Finish
    {
        public static readonly Finish Instance = new();
    }

    private sealed class StandIn : UntypedActor
    {
        private readonly BackendDirectory _directory;

        public StandIn(BackendDirectory directory, ImmutableArray<AerMonitor.Act> errors)
        {
            _directory = directory;
            Context.System.EventStream.Publish(new Started(directory.Guest, errors));
        }

        protected override void OnReceive(object message)
        {
            switch (message)
            {
                case Exception failure:
                    throw failure;
                case Finish:
                    Context.Parent.Tell(new GuestActor.Finished(_directory));
                    Context.Stop(Self);
                    break;
                default:
                    Context.System.EventStream.Publish(new Told(_directory.Guest, message));
                    break;
            }
        }
    }

    private sealed class Supervised : IAsyncDisposable
    {
        private readonly XenStoreClient _client;
        private readonly BackendMeters _meters;
        private readonly TestDom0 _dom0;

        private Supervised(TestDom0 dom0, XenStoreClient client)
        {
            (_dom0, _client, _meters) = (dom0, client, new BackendMeters(dom0.Xen.Clock));
            var host = dom0.Xen.OpenHost();
            Quarantine = new Quarantine(host.LastingRecords);
            Actor = dom0.System.ActorOf(
                BackendSupervisor.Props(
                    client, host, Quarantine, TestDom0.Settings, _meters, standsBy: false,
                    (directory, _, errors, _) => Props.Create(() => new StandIn(directory, errors))),
                "supervisor");
        }

        public IActorRef Actor { get; }

        public Quarantine Quarantine { get; }

        public static async Task<Supervised> StartAsync(TestDom0 dom0) =>
            new(dom0, await XenStoreClient.ConnectAsync(dom0.Xen.XenStored.Endpoint));

        /// <summary>Waits until it is ready and each of its children has been started.</summary>
        public async Task ReadyAsync()
        {
            await Actor.Ask<BackendEvents.Ready>(WhenReady.Instance, Eventually.Patience);
            foreach (var child in ((ActorRefWithCell)Actor).Children)
                await child.Ask<ActorIdentity>(new Identify(null), Eventually.Patience);
        }

        public ActorSelection Guest(DomainId guest) => _dom0.System.ActorSelection(Actor.Path / $"guest-{guest}");

        /// <summary>Tells it of an error and waits until it has handled that.</summary>
        public async Task<AerMonitor.Act> MeetAsync(
            DomainId guest, HostBdf device, AerSeverity severity = AerSeverity.NonFatal,
            AerResponse response = AerResponse.Kill)
        {
            var act = new AerMonitor.Act(guest, device, severity, $"{severity}", response);
            Actor.Tell(act);
            await HandledAsync();
            return act;
        }

        public Task<ActorIdentity> HandledAsync() => Actor.Ask<ActorIdentity>(new Identify(null), Eventually.Patience);

        public async ValueTask DisposeAsync()
        {
            await Actor.GracefulStop(Eventually.Patience);
            await _client.DisposeAsync();
            _meters.Dispose();
        }
    }

    private static Task<TestDom0> StartAsync() => TestDom0.StartAsync(isTimeStopped: true, withDaemon: false);

    private static Task CreateDirectoryAsync(TestDom0 dom0, DomainId guest) =>
        dom0.Store.WriteAsync(SimulatedToolstack.BackendOf(guest) / "state", "1");

    private static Task RemoveDirectoryAsync(TestDom0 dom0, DomainId guest) =>
        dom0.Store.RemoveAsync(SimulatedToolstack.BackendOf(guest).Parent);

    private static async Task<DomainId[]> StartedAsync(TestDom0 dom0) =>
        [.. (await dom0.Events.AllOfAsync<Started>()).Select(started => started.Guest)];

    private static async Task<(DomainId, object)[]> ToldAsync(TestDom0 dom0) =>
    [
        .. (await dom0.Events.AllOfAsync<Told>()).Where(told => told.What is AerMonitor.Act)
            .Select(told => (told.Guest, told.What)),
    ];

    [Fact]
    public async Task Each_connection_directory_has_one_actor_whether_it_was_there_before_or_comes_later()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        Assert.Equal([Web], await StartedAsync(dom0));
        await CreateDirectoryAsync(dom0, Lab);
        await Eventually.EqualAsync(2, () => dom0.Events.Of<Started>().Count);
        Assert.Equal([Web, Lab], await StartedAsync(dom0));
    }

    [Fact]
    public async Task A_write_below_one_guest_asks_xenstored_nothing_about_the_others()
    {
        await using var dom0 = await StartAsync();
        DomainId[] guests = [.. Enumerable.Range(1, 50).Select(number => new DomainId(number))];
        foreach (var guest in guests) await CreateDirectoryAsync(dom0, guest);
        await using var supervisor = await Supervised.StartAsync(dom0);
        var others = guests.Skip(1).Select(guest => dom0.Xen.Faults.Watch(FaultPoint.StoreReply, guest)).ToList();
        await supervisor.ReadyAsync();
        // A watch fires once when it is registered, so that they are listed once more.
        var (before, quiet) = (0, 0);
        await Eventually.IsTrueAsync(() =>
        {
            var now = others.Sum(requests => requests.Struck);
            (before, quiet) = (now, now == before ? quiet + 1 : 0);
            return quiet == 20;
        });
        for (var i = 0; i < 100; i++)
            await dom0.Store.WriteAsync(SimulatedToolstack.BackendOf(Web) / "node", $"{i}");
        await using var barrier = await dom0.Store.WatchAsync(SimulatedToolstack.BackendOf(Web), () => { });
        await supervisor.HandledAsync();
        Assert.Equal(before, others.Sum(requests => requests.Struck));
        // A directory that comes has them listed.
        await CreateDirectoryAsync(dom0, new DomainId(51));
        await Eventually.EqualAsync(51, () => dom0.Events.Of<Started>().Count);
        Assert.InRange(others.Sum(requests => requests.Struck), before + others.Count, int.MaxValue);
    }

    [Fact]
    public async Task A_guest_of_the_kernels_backend_is_left_to_it()
    {
        await using var dom0 = await StartAsync();
        dom0.Xen.Pci.ServeByKernel(Web, 0);
        await CreateDirectoryAsync(dom0, Web);
        await CreateDirectoryAsync(dom0, Lab);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        Assert.Equal([Lab], await StartedAsync(dom0));
    }

    [Fact]
    public async Task A_guest_whose_actor_has_finished_is_gone()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        await RemoveDirectoryAsync(dom0, Web);
        supervisor.Guest(Web).Tell(Finish.Instance, ActorRefs.NoSender);
        Assert.Equal(Web, (await dom0.Events.NextAsync<BackendEvents.GuestGone>()).Guest);
        Assert.Equal([Web], await StartedAsync(dom0));
        Assert.Empty(await dom0.Events.AllOfAsync<BackendEvents.ActorReplaced>());
    }

    [Fact]
    public async Task A_guest_whose_actor_fails_gets_another_one_and_is_left_alone_when_that_happens_too_often()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        for (var failure = 1; failure <= FailureTable.MostFailures; failure++)
        {
            supervisor.Guest(Web).Tell(new InvalidOperationException("a bug"), ActorRefs.NoSender);
            if (failure == FailureTable.MostFailures) break;
            Assert.Equal(Web, (await dom0.Events.NextAsync<BackendEvents.ActorReplaced>()).Guest);
            await Eventually.EqualAsync(1 + failure, () => dom0.Events.Of<Started>().Count);
        }
        var abandoned = await dom0.Events.NextAsync<BackendEvents.GuestAbandoned>();
        Assert.Equal((Web, "a bug"), (abandoned.Guest, abandoned.Cause));
        Assert.Equal(Web, (await dom0.Events.NextAsync<BackendEvents.GuestGone>()).Guest);
        // The directory is still there; another one has the supervisor look at all of them.
        await CreateDirectoryAsync(dom0, Lab);
        await Eventually.IsTrueAsync(() => dom0.Events.Of<Started>()[^1].Guest == Lab);
        Assert.Equal([Web, Web, Web, Lab], await StartedAsync(dom0));
    }

    [Fact]
    public async Task Failures_of_longer_ago_than_the_window_do_not_count()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        for (var failure = 1; failure <= 2 * FailureTable.MostFailures; failure++)
        {
            supervisor.Guest(Web).Tell(new InvalidOperationException("a bug"), ActorRefs.NoSender);
            await dom0.Events.NextAsync<BackendEvents.ActorReplaced>();
            await Eventually.EqualAsync(1 + failure, () => dom0.Events.Of<Started>().Count);
            dom0.Advance(FailureTable.FailureWindow / (FailureTable.MostFailures - 1) + TimeSpan.FromMilliseconds(1));
        }
        Assert.Empty(await dom0.Events.AllOfAsync<BackendEvents.GuestAbandoned>());
    }

    [Fact]
    public async Task Directories_that_cannot_be_listed_are_listed_again_after_a_pause()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        using var refusing = dom0.Xen.Faults.Arm(FaultPoint.StoreReply);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await Eventually.EqualAsync(1, () => refusing.Struck);
        await supervisor.HandledAsync();
        Assert.Empty(await StartedAsync(dom0));
        await dom0.AdvanceUntilDoneAsync(supervisor.ReadyAsync(), TestDom0.Settings.StoreRetry);
        Assert.Equal([Web], await StartedAsync(dom0));
    }

    [Fact]
    public async Task The_actor_of_the_guest_whose_device_met_an_error_is_told_and_no_other()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await CreateDirectoryAsync(dom0, Lab);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        var act = await supervisor.MeetAsync(Web, Nic, response: AerResponse.RecoverThenKill);
        await Eventually.EqualAsync(1, async () => (await ToldAsync(dom0)).Length);
        Assert.Equal([(Web, act)], await ToldAsync(dom0));
        Assert.Empty(supervisor.Quarantine.Devices);
    }

    [Fact]
    public async Task More_of_an_error_is_told_when_it_is_worse_or_the_one_before_is_settled()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        const AerResponse recover = AerResponse.RecoverThenKill;
        var first = await supervisor.MeetAsync(Web, Nic, AerSeverity.NonFatal, recover);
        await supervisor.MeetAsync(Web, Nic, AerSeverity.NonFatal, recover);
        var worse = await supervisor.MeetAsync(Web, Nic, AerSeverity.Fatal, recover);
        await supervisor.MeetAsync(Web, Nic, AerSeverity.NonFatal, recover);
        supervisor.Actor.Tell(new GuestActor.ErrorSettled(Web, Nic));
        var next = await supervisor.MeetAsync(Web, Nic, AerSeverity.NonFatal, recover);
        await Eventually.EqualAsync(3, async () => (await ToldAsync(dom0)).Length);
        Assert.Equal([(Web, first), (Web, worse), (Web, next)], await ToldAsync(dom0));
    }

    [Fact]
    public async Task The_next_actor_of_a_guest_is_started_with_the_errors_that_are_not_settled()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        await supervisor.MeetAsync(Web, Edu, response: AerResponse.RecoverThenKill);
        var unsettled = await supervisor.MeetAsync(Web, Nic, response: AerResponse.RecoverThenKill);
        supervisor.Actor.Tell(new GuestActor.ErrorSettled(Web, Edu));
        supervisor.Guest(Web).Tell(new InvalidOperationException("a bug"), ActorRefs.NoSender);
        await Eventually.EqualAsync(2, () => dom0.Events.Of<Started>().Count);
        Assert.Equal([unsettled], dom0.Events.Of<Started>()[^1].Errors.ToArray());
    }

    [Fact]
    public async Task An_error_of_a_guest_that_is_gone_quarantines_nothing()
    {
        await using var dom0 = await StartAsync();
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        await supervisor.MeetAsync(Web, Nic);
        Assert.Empty(supervisor.Quarantine.Devices);
    }

    [Fact]
    public async Task With_report_the_guest_is_told_and_the_device_stays_out_of_quarantine()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        await supervisor.MeetAsync(Web, Nic, response: AerResponse.Report);
        await Eventually.EqualAsync(1, async () => (await ToldAsync(dom0)).Length);
        Assert.Empty(supervisor.Quarantine.Devices);
    }

    [Fact]
    public async Task A_quarantine_that_cannot_be_recorded_holds_at_once_and_is_recorded_after_pauses()
    {
        await using var dom0 = await StartAsync();
        await CreateDirectoryAsync(dom0, Web);
        await using var supervisor = await Supervised.StartAsync(dom0);
        await supervisor.ReadyAsync();
        using var full = dom0.Xen.Faults.Arm(FaultPoint.RecordWrite, times: 3, errno: Errnos.ENOSPC);
        await supervisor.MeetAsync(Web, Nic);
        Assert.Equal(Nic, (await dom0.Events.NextAsync<BackendEvents.DeviceQuarantined>()).Device.Device);
        Assert.NotNull(supervisor.Quarantine.Find(Nic));
        await Eventually.EqualAsync(1, () => full.Struck);
        Assert.Empty(dom0.Xen.LastingRecords.Names);
        var recorded = Eventually.EqualAsync(1, () => dom0.Xen.LastingRecords.Names.Count);
        await dom0.AdvanceUntilDoneAsync(recorded, TestDom0.Settings.StoreRetry);
        Assert.Equal(3, full.Struck);
    }
}
