using Akka.Actor;
using Akka.Cluster;
using XenPciBack.Fleet.Wire;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet.Membership;

/// <summary>Keeps the board of the fleet: what hosts report, and which of them are heard of.</summary>
internal sealed class Monitor : ReceiveActor
{
    public const string Name = "monitor";

    private readonly Dictionary<string, (Address Node, IActorRef Reporter)> _hosts = [];
    private readonly HashSet<Address> _unreachable = [];
    private readonly Cluster _cluster = Cluster.Get(Context.System);
    private readonly FleetBoard _board;

    public Monitor(FleetBoard board)
    {
        _board = board;
        Receive<Report>(Take);
        Receive<ConfigViewQuestion>(Ask);
        Receive<ClusterEvent.UnreachableMember>(lost =>
        {
            _unreachable.Add(lost.Member.Address);
            // One that is leaving has said goodbye.
            if (lost.Member.Status is MemberStatus.Up or MemberStatus.WeaklyUp) Show(lost.Member.Address, Presence.Lost);
        });
        Receive<ClusterEvent.ReachableMember>(back =>
        {
            _unreachable.Remove(back.Member.Address);
            if (back.Member.Status is MemberStatus.Up or MemberStatus.WeaklyUp) Show(back.Member.Address, Presence.Up);
        });
        Receive<ClusterEvent.MemberLeft>(left => Show(left.Member.Address, Presence.Left));
        Receive<ClusterEvent.MemberRemoved>(removed =>
        {
            var node = removed.Member.Address;
            Show(node, removed.PreviousStatus == MemberStatus.Exiting ? Presence.Left : Presence.Lost);
            foreach (var host in HostsAt(node)) _hosts.Remove(host);
            _unreachable.Remove(node);
        });
        Receive<ClusterEvent.IMemberEvent>(_ => { });
    }

    protected override void PreStart() =>
        _cluster.Subscribe(Self, ClusterEvent.SubscriptionInitialStateMode.InitialStateAsEvents, typeof(ClusterEvent.IMemberEvent), typeof(ClusterEvent.IReachabilityEvent));

    protected override void PostStop()
    {
        _cluster.Unsubscribe(Self);
        // Outside of the fleet nobody is heard of.
        foreach (var host in _hosts.Keys)
            _board.Update(state => state.Hosts[host].Presence == Presence.Up ? state.WithPresence(host, Presence.Lost, DateTimeOffset.UtcNow) : state);
    }

    private void Take(Report report)
    {
        var now = DateTimeOffset.UtcNow;
        _board.Update(state =>
        {
            if (report.Status is { } status) state = state.WithStatus(status, now);
            foreach (var incident in report.Incidents) state = state.WithIncident(new HostIncident(report.Host, report.Daemon, incident), now);
            return state;
        });
        if (!_board.State.Hosts.ContainsKey(report.Host)) return;
        var node = Sender.Path.Address;
        if (!_hosts.TryGetValue(report.Host, out var from) || from.Node != node)
        {
            _hosts[report.Host] = (node, Sender);
            Show(node, _unreachable.Contains(node) ? Presence.Lost : Presence.Up);
        }
        Sender.Tell(new ReportSeen(report.Host, report.Daemon, report.Status?.Number ?? 0, report.Incidents.IsEmpty ? 0 : report.Incidents[^1].Number));
    }

    private void Ask(ConfigViewQuestion question)
    {
        if (_hosts.TryGetValue(question.Host, out var asked)) asked.Reporter.Tell(new ConfigViewWanted(question.Guest, question.Device), Sender);
        else Sender.Tell(new ConfigViewFound(null));
    }

    private void Show(Address node, Presence presence)
    {
        foreach (var host in HostsAt(node)) _board.Update(state => state.WithPresence(host, presence, DateTimeOffset.UtcNow));
    }

    private List<string> HostsAt(Address node) => [.. _hosts.Where(host => host.Value.Node == node).Select(host => host.Key)];
}

/// <summary>Somebody on this node wants to see a device's config space; answered with <see cref="ConfigViewFound"/>.</summary>
internal sealed record ConfigViewQuestion(string Host, DomainId Guest, HostBdf Device);
