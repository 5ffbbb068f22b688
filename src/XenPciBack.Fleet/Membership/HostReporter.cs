using System.Collections.Immutable;
using Akka.Actor;
using Akka.Cluster;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet.Wire;

namespace XenPciBack.Fleet.Membership;

/// <summary>
/// Tells each monitor what it has not seen of this host: incidents as they come, the status at most once a second. What a monitor has not
/// answered for is told again, so that one that was away or is new gets what it has missed, as far back as the board of this host remembers.
/// </summary>
internal sealed class HostReporter : ReceiveActor, IWithTimers, IDisposable
{
    // A status of more guests than this leaves out how often each of them has asked for what, so that it fits into a message.
    private const int MostGuestsInFull = 400;

    private readonly Dictionary<UniqueAddress, Peer> _monitors = [];
    private readonly Cluster _cluster = Cluster.Get(Context.System);
    private readonly CancellationTokenSource _stopped = new();
    private readonly LocalHost _host;
    private readonly TimeSpan _beat;
    private readonly TimeSpan? _patience;
    private DateTime? _aloneSince;

    /// <param name="host">What is told of.</param>
    public HostReporter(LocalHost host, FleetSettings settings)
    {
        (_host, _beat) = (host, settings.Beat);
        // A fleet without a monitor is left after this time, to find one through the seeds.
        _patience = settings.Seeds.IsEmpty ? null : settings.GiveUpAfter;
        Receive<ClusterEvent.MemberRemoved>(removed => _monitors.Remove(removed.Member.UniqueAddress));
        Receive<ClusterEvent.IMemberEvent>(changed => Meet(changed.Member));
        Receive<ClusterEvent.UnreachableMember>(lost => _monitors.Remove(lost.Member.UniqueAddress));
        Receive<ClusterEvent.ReachableMember>(back => Meet(back.Member));
        Receive<ReportSeen>(seen => Seen(seen, Sender.Path.Address));
        Receive<ConfigViewWanted>(wanted => host.ConfigViews(host.Name, wanted.Guest, wanted.Device, _stopped.Token).PipeTo(Sender, Self, view => new ConfigViewFound(view), _ => new ConfigViewFound(null)));
        Receive<FleetState>(state =>
        {
            Follow(state);
            ReportToAll();
        });
        Receive<Again>(_ =>
        {
            ReportToAll();
            LeaveIfAlone();
        });
    }

    public ITimerScheduler Timers { get; set; } = null!;

    protected override void PreStart()
    {
        _cluster.Subscribe(Self, ClusterEvent.SubscriptionInitialStateMode.InitialStateAsEvents, typeof(ClusterEvent.IMemberEvent), typeof(ClusterEvent.IReachabilityEvent));
        Timers.StartPeriodicTimer(Again.Instance, Again.Instance, _beat);
        Follow(FleetState.Empty);
    }

    protected override void PostStop() => _cluster.Unsubscribe(Self);

    public void Dispose()
    {
        _stopped.Cancel();
        _stopped.Dispose();
    }

    private void Follow(FleetState seen) => _host.Board.NextAsync(seen, _stopped.Token).PipeTo(Self, failure: _ => Again.Instance);

    private void Meet(Member member)
    {
        if (!member.HasRole(FleetSystem.MonitorRole) || member.Status is not (MemberStatus.Up or MemberStatus.WeaklyUp)) return;
        if (_monitors.TryAdd(member.UniqueAddress, new Peer(Context.ActorSelection(new RootActorPath(member.Address) / "user" / Monitor.Name))))
            Report(_monitors[member.UniqueAddress]);
    }

    private void Seen(ReportSeen seen, Address from)
    {
        foreach (var (node, monitor) in _monitors)
        {
            if (node.Address != from || seen.Daemon != _host.Daemon) continue;
            monitor.Status = Math.Max(monitor.Status, seen.Status);
            monitor.Incident = Math.Max(monitor.Incident, seen.Incident);
            monitor.ToldAt = null;
            Report(monitor);
        }
    }

    private void ReportToAll()
    {
        foreach (var monitor in _monitors.Values) Report(monitor);
    }

    private void Report(Peer monitor)
    {
        if (_host.Board.State.Hosts.GetValueOrDefault(_host.Name) is not { Status: { } status } entry) return;
        var now = DateTime.UtcNow;
        if (now - monitor.ToldAt < 2 * _beat) return;
        var isStatusDue = status.Number > monitor.Status && !(now - monitor.StatusToldAt < _beat);
        ImmutableArray<Incident> incidents =
        [
            .. entry.Incidents.Where(told => told.Incident.Number > monitor.Incident)
                .Select(told => told.Incident).OrderBy(incident => incident.Number).Take(Wire.Report.MostIncidents),
        ];
        if (!isStatusDue && incidents.IsEmpty) return;
        monitor.Place.Tell(new Report(_host.Name, _host.Daemon, isStatusDue ? Fitting(status) : null, incidents), Self);
        monitor.ToldAt = now;
        if (isStatusDue) monitor.StatusToldAt = now;
    }

    private void LeaveIfAlone()
    {
        if (_patience is not { } patience || _cluster.SelfMember.Status is not (MemberStatus.Up or MemberStatus.WeaklyUp)) return;
        if (_cluster.State.Members.Any(member => member.HasRole(FleetSystem.MonitorRole))) _aloneSince = null;
        else if (DateTime.UtcNow - (_aloneSince ??= DateTime.UtcNow) > patience) _ = CoordinatedShutdown.Get(Context.System).Run(CoordinatedShutdown.ClusterLeavingReason.Instance);
    }

    private static HostStatus Fitting(HostStatus status) =>
        status.Guests.Length <= MostGuestsInFull ? status : status with { Guests = [.. status.Guests.Select(guest => guest with { Operations = [] })] };

    /// <summary>A monitor that is heard of, and what it has seen of this host's daemon.</summary>
    private sealed class Peer(ActorSelection place)
    {
        public ActorSelection Place { get; } = place;
        public long Status { get; set; }
        public long Incident { get; set; }

        /// <summary>When it was told something that it has not answered yet.</summary>
        public DateTime? ToldAt { get; set; }

        public DateTime? StatusToldAt { get; set; }
    }

    private sealed record Again
    {
        public static readonly Again Instance = new();
    }
}
