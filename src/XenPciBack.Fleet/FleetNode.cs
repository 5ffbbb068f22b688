using Akka.Actor;
using Akka.Cluster;
using Akka.Event;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet.Membership;
using XenPciBack.Fleet.Wire;

namespace XenPciBack.Fleet;

/// <summary>
/// A node of the fleet: a host that reports, or a monitor that shows. Its actor system may end at any time, by a decision of the cluster or because its
/// address is taken; then there is another one after a while, and the board goes on. Nothing else in the process notices.
/// </summary>
public sealed class FleetNode : IAsyncDisposable
{
    private static readonly TimeSpan LeavePatience = TimeSpan.FromSeconds(5), AnswerPatience = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _stop = new();
    private readonly FleetSettings _settings;
    private readonly FleetSetup _setup;
    private readonly Action<LogEvent> _log;
    private readonly string _role;
    private readonly Func<Props> _actor;
    private readonly string _actorName;
    private readonly Task _running;
    private volatile ActorSystem? _system;
    private string? _failure;

    private FleetNode(FleetSettings settings, string role, string actorName, Func<Props> actor, FleetThreads threads, Action<LogEvent> log)
    {
        (_settings, _role, _actorName, _actor, _log, _setup) = (settings, role, actorName, actor, log, new FleetSetup(threads, log));
        FleetSystem.RequireTlsOffLoopback(settings);
        _running = Task.Run(RunAsync);
    }

    /// <summary>Reports what a host says.</summary>
    /// <param name="log">Where log lines go; called on any thread.</param>
    /// <exception cref="FleetException">The settings would have it speak plain text off loopback.</exception>
    public static FleetNode OfHost(FleetSettings settings, LocalHost host, FleetThreads threads, Action<LogEvent> log)
    {
        var reporter = () => Props.Create(() => new HostReporter(host, settings));
        return new FleetNode(settings, FleetSystem.HostRole, "reporter", reporter, threads, log);
    }

    /// <summary>Fills the board with what all hosts report.</summary>
    /// <inheritdoc cref="OfHost"/>
    public static FleetNode OfMonitor(FleetSettings settings, FleetBoard board, FleetThreads threads, Action<LogEvent> log) =>
        new(settings, FleetSystem.MonitorRole, Membership.Monitor.Name, () => Props.Create(() => new Membership.Monitor(board)), threads, log);

    /// <summary>Where the node listens; null until it does.</summary>
    public Address? Address => _system is { } system ? Cluster.Get(system).SelfAddress : null;

    /// <summary>The node is up in its fleet.</summary>
    public bool IsUp => _system is { } system && Cluster.Get(system) is { IsTerminated: false } cluster && cluster.SelfMember.Status is MemberStatus.Up or MemberStatus.WeaklyUp;

    /// <summary>Asks the host of the device, on a monitor's node.</summary>
    public async Task<ConfigView?> ConfigViewAsync(string host, Protocol.DomainId guest, Protocol.HostBdf device, CancellationToken stop)
    {
        if (_system is not { } system) return null;
        try
        {
            return (await system.ActorSelection($"/user/{_actorName}").Ask<ConfigViewFound>(new ConfigViewQuestion(host, guest, device), AnswerPatience, stop).ConfigureAwait(false)).View;
        }
        catch (AskTimeoutException)
        {
            return null;
        }
    }

    /// <summary>Leaves the fleet in good order, if that can be done in a few seconds.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _running.ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await LiveAsync().ConfigureAwait(false);
                _failure = null;
                if (!_stop.IsCancellationRequested) Warn("this node is in no fleet any more, because it and the oldest monitor could not reach each other for a while, or no monitor was left; it joins again", null);
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                if (_failure != e.Message) Warn($"the fleet cannot be joined, which is tried again until it can: {Innermost(e).Message}", e);
                _failure = e.Message;
            }
            await ((Task)Task.Delay(2 * _settings.Beat, _stop.Token))
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task LiveAsync()
    {
        var system = FleetSystem.Create(_settings, _role, _setup);
        try
        {
            var cluster = Cluster.Get(system);
            system.ActorOf(_actor(), _actorName);
            if (_settings.Seeds.IsEmpty) cluster.Join(cluster.SelfAddress);
            else cluster.JoinSeedNodes(_settings.Seeds.Select(seed => FleetSystem.AddressOf(seed, _settings.Tls is not null)));
            _system = system;
            await ((Task)system.WhenTerminated.WaitAsync(_stop.Token)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        finally
        {
            _system = null;
            if (!system.WhenTerminated.IsCompleted)
                await ((Task)CoordinatedShutdown.Get(system).Run(CoordinatedShutdown.ClrExitReason.Instance).WaitAsync(LeavePatience)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private void Warn(string text, Exception? cause) => _log(new Warning(cause, nameof(FleetNode), typeof(FleetNode), text));

    private static Exception Innermost(Exception e) => e.InnerException is { } inner ? Innermost(inner) : e;
}
