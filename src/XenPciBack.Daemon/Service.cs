using System.Globalization;
using Microsoft.Extensions.Hosting.Systemd;
using Serilog;

namespace XenPciBack.Daemon;

/// <summary>What systemd is told of this process (sd_notify(3)); nothing where it was not started by it as a service of type notify.</summary>
/// <param name="watchdog">How soon systemd ends a process it has heard nothing of; null: never.</param>
internal sealed class Service(ISystemdNotifier systemd, TimeSpan? watchdog)
{
    public static Service OfThisProcess() => new(new SystemdNotifier(), WatchdogIn(Environment.GetEnvironmentVariable("WATCHDOG_USEC"), Environment.GetEnvironmentVariable("WATCHDOG_PID")));

    /// <summary>What systemd has waited for, so that what comes after this service can be started.</summary>
    public void Ready(string status)
    {
        Status(status);
        systemd.Notify(ServiceState.Ready);
    }

    public void Status(string status) => systemd.Notify(new ServiceState($"STATUS={status}"));

    public void Stopping() => systemd.Notify(ServiceState.Stopping);

    /// <summary>
    /// Tells systemd again and again that this process works, each time only after it has been seen to. Where it works no more systemd ends it, and the
    /// daemon that stands by, or the next one, takes its guests over.
    /// </summary>
    /// <param name="worksAsync">Done when everything that guests need has moved on; never if something of it is stuck.</param>
    public async Task WatchAsync(Func<Task> worksAsync, CancellationToken stop)
    {
        if (watchdog is not { } limit) return;
        // Twice in the time that systemd allows is what sd_watchdog_enabled(3) advises.
        using var timer = new PeriodicTimer(limit / 3);
        try
        {
            do
            {
                var works = worksAsync();
                if (await Task.WhenAny(works, Task.Delay(limit / 2, stop)).ConfigureAwait(false) != works && !stop.IsCancellationRequested)
                    Log.Error("What serves the guests has not moved for {Seconds:0.0} s; systemd ends this process when it has been {Limit:0.0} s", limit.TotalSeconds / 2, limit.TotalSeconds);
                await works.WaitAsync(stop).ConfigureAwait(false);
                systemd.Notify(new ServiceState("WATCHDOG=1"));
            }
            while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            // The service ends in order.
        }
    }

    /// <param name="process">The process that is watched; null: this one.</param>
    internal static TimeSpan? WatchdogIn(string? microseconds, string? process) =>
        long.TryParse(microseconds, NumberStyles.None, CultureInfo.InvariantCulture, out var limit) && limit > 0
        && (process is null || process == Environment.ProcessId.ToString(CultureInfo.InvariantCulture))
            ? TimeSpan.FromMicroseconds(limit) : null;
}
