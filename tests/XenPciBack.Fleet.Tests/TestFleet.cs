using System.Collections.Concurrent;
using System.Net;
using Akka.Event;
using XenPciBack.Backend.Status;

namespace XenPciBack.Fleet.Tests;

/// <summary>Nodes of one fleet within this process, each with an actor system and a port of its own.</summary>
internal sealed class TestFleet : IAsyncDisposable
{
    private readonly FleetThreads _threads = new(() => { });
    private readonly List<FleetNode> _nodes = [];

    public ConcurrentQueue<LogEvent> Log { get; } = [];

    public FleetTls? Tls { get; init; }

    public FleetBoard Seen { get; } = new();

    public DnsEndPoint? MonitorAt { get; set; }

    public FleetNode Monitor { get; private set; } = null!;

    /// <summary>Fast, and yet no node of a busy machine is taken for lost.</summary>
    public static FleetSettings Settings(string name, DnsEndPoint? seed = null, FleetTls? tls = null, int port = 0) => new(
        name, new IPEndPoint(IPAddress.Loopback, port), seed is null ? [] : [seed], tls,
        LostAfter: TimeSpan.FromSeconds(30), GiveUpAfter: TimeSpan.FromSeconds(1))
    {
        Beat = TimeSpan.FromMilliseconds(100),
    };

    public async Task StartMonitorAsync(int port = 0)
    {
        Monitor = Keep(FleetNode.OfMonitor(Settings("monitor", tls: Tls, port: port), Seen, _threads, Log.Enqueue));
        await Eventually.IsTrueAsync(() => Monitor.IsUp, () => string.Join('\n', Log));
        MonitorAt = new DnsEndPoint(Monitor.Address!.Host, Monitor.Address.Port!.Value);
    }

    public (FleetNode Node, FleetBoard Board) StartHost(string name, FleetTls? tls = null, ConfigViewSource? views = null)
    {
        var host = new LocalHost(name, Some.Noon, views ?? ((_, _, _, _) => Task.FromResult<ConfigView?>(null)));
        host.Board.Update(state => state.WithStatus(Some.Status(name), Some.Noon));
        return (Keep(FleetNode.OfHost(Settings(name, MonitorAt, tls ?? Tls), host, _threads, Log.Enqueue)), host.Board);
    }

    public async Task StopAsync(FleetNode node)
    {
        _nodes.Remove(node);
        await node.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var node in _nodes) await node.DisposeAsync();
        _threads.Dispose();
    }

    private FleetNode Keep(FleetNode node)
    {
        _nodes.Add(node);
        return node;
    }
}
