using Akka.Actor;
using Akka.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Serilog;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Logging;
using XenPciBack.Fleet;
using XenPciBack.Host.Linux;

namespace XenPciBack.Daemon.Fleet;

/// <summary>What this process shows of itself to others: web view, metrics and fleet. No guest needs any of it, and no fault of it goes further than the log.</summary>
internal sealed class Exposure : IAsyncDisposable
{
    private static readonly TimeSpan BetweenTries = TimeSpan.FromSeconds(2);

    private readonly CancellationTokenSource _stop = new();
    private readonly FleetThreads _threads = new(LowPriority.OfThisThread);
    private LocalHost? _host;
    private FleetNode? _node;
    private FleetWeb? _web;
    private Task _showing = Task.CompletedTask;

    private Exposure() { }

    /// <summary>Where a browser finds the dashboard; null if nowhere.</summary>
    public string? Address => _web?.Address;

    /// <summary>Of a daemon, from the moment it serves the guests of its host. Where an address is still that of the daemon before, it is waited for.</summary>
    /// <param name="backend">The services of the backend.</param>
    /// <param name="isReady">Whether the guests have been found.</param>
    public static Exposure OfHost(DaemonSettings settings, IServiceProvider backend, Func<bool> isReady)
    {
        var exposure = new Exposure();
        var host = exposure._host = LocalHost.Of(settings.Fleet.Name, backend.GetRequiredService<ActorSystem>(), backend.GetRequiredService<IRequiredActor<HostStatusKeeper>>().ActorRef);
        if (settings.IsFleetEnabled) exposure._node = FleetNode.OfHost(settings.Fleet, host, exposure._threads, SerilogAkkaLogger.Write);
        exposure._showing = exposure.ShowWhenPossibleAsync(() => exposure.ShowAsync(settings, host.Board, host.ConfigViews, isReady));
        return exposure;
    }

    /// <summary>Of a monitor.</summary>
    /// <exception cref="FleetException">Its web view cannot be served.</exception>
    public static async Task<Exposure> OfMonitorAsync(DaemonSettings settings)
    {
        var exposure = new Exposure();
        var board = new FleetBoard();
        var node = exposure._node = FleetNode.OfMonitor(settings.Fleet, board, exposure._threads, SerilogAkkaLogger.Write);
        await exposure.ShowAsync(settings, board, node.ConfigViewAsync, () => node.IsUp);
        return exposure;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _showing;
        if (_web is not null) await _web.DisposeAsync();
        if (_node is not null) await _node.DisposeAsync();
        _host?.Dispose();
        _threads.Dispose();
        _stop.Dispose();
    }

    // Even to start it takes a second of processor time, which is not taken from guests.
    private async Task ShowAsync(DaemonSettings settings, FleetBoard board, ConfigViewSource views, Func<bool> isReady)
    {
        _web = await Task.Factory.StartNew(
            () => FleetWeb.StartAsync(settings.Web, settings.Fleet.Name, board, views, isReady, _threads), CancellationToken.None, TaskCreationOptions.None, _threads).Unwrap();
        if (Address is { } address) Log.Information("The dashboard is at {Dashboard:l}, metrics for Prometheus at {Metrics:l}", address, $"{address}/metrics");
    }

    private async Task ShowWhenPossibleAsync(Func<Task> showAsync)
    {
        string? failure = null;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await showAsync();
                return;
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                if (failure != e.Message) Log.Warning("{Fault:l}; it is tried again until it can", e.Message);
                failure = e.Message;
            }
            await ((Task)Task.Delay(BetweenTries, _stop.Token)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
