using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Benchmarks.Watched;

/// <summary>
/// What it costs a guest that its daemon is watched: the same guest of the same daemon, once with nobody there, once
/// with everything on that a fleet has, in turns, so that both have the same share of whatever else the machine does.
/// In between all of it is ended, other processes and all: a watched daemon beside the other one would take from both.
/// The median of the rounds counts.
/// </summary>
internal static class WatchedCommand
{
    private const int Rounds = 9, Countings = 2_000_000;

    private static readonly TimeSpan
        Round = TimeSpan.FromSeconds(5), Beforehand = TimeSpan.FromSeconds(1),
        Idle = TimeSpan.FromSeconds(30), Settling = TimeSpan.FromSeconds(10);

    public static Command Create()
    {
        var command = new Command("watched", """
            What it costs a guest that its daemon reports to a monitor, has
            dashboards open and is scraped each second; about five minutes.
            """);
        command.SetAction(async (_, _) =>
        {
            await RunAsync();
            return 0;
        });
        return command;
    }

    private static async Task RunAsync()
    {
        using var directory = new TemporaryDirectory();
        var (settings, monitor) = await SettingsAsync(directory.Path);
        await using var host = await WatchedHost.StartAsync(settings, directory.Path);

        Task<T> Watched<T>(bool look, Func<WatchedHost, Task<T>> measureAsync) =>
            WatchedAsync(host, settings, monitor, look, measureAsync);

        var (quiet, watched) = (new List<List<double>>(), new List<List<double>>());
        for (var i = 0; i <= Rounds; i++)
        {
            var (alone, observed) = (await AskAsync(host), await Watched(look: true, AskAsync));
            // The first time much is compiled.
            if (i == 0) continue;
            quiet.Add(alone);
            watched.Add(observed);
        }
        var requests = quiet.Sum(took => took.Count) + watched.Sum(took => took.Count);
        Console.WriteLine($"event to answer as the guest sees it, median of {Rounds} rounds of {Round.TotalSeconds} s, "
            + $"{requests} requests in all");
        Console.WriteLine($"{"",-60}{"p50",12}{"p99",12}");
        var scraper = Watchers.HavePrometheus ? "Prometheus" : "HTTP";
        PrintLatency("nobody looks", quiet);
        PrintLatency($"fleet, open dashboards, scraped each second by {scraper}", watched);
        var (p50, p99) = (Of(watched, 0.5) / Of(quiet, 0.5), Of(watched, 0.99) / Of(quiet, 0.99));
        Console.WriteLine($"{"ratio",-60}{p50,12:0.00}{p99,12:0.00}");
        var counting = Counting();
        Console.WriteLine($"counting one operation takes {counting:0} ns, "
            + $"{counting / Of(quiet, 0.5) / 10:0.0} % of the p50 above, where it is included");

        Console.WriteLine($"processor time of the daemon's process while its guest asks nothing, of one core, "
            + $"over {Idle.TotalSeconds} s");
        Console.WriteLine($"{"alone",-60}{await IdleAsync(host),10:0.00} %");
        Console.WriteLine($"{"fleet and web view on",-60}{await Watched(look: false, IdleAsync),10:0.00} %");
        Console.WriteLine($"{"watched as above",-60}{await Watched(look: true, IdleAsync),10:0.00} %");
    }

    private static async Task<T> WatchedAsync<T>(
        WatchedHost host, DaemonSettings settings, string monitor, bool look, Func<WatchedHost, Task<T>> measureAsync)
    {
        await using var watchers = await Watchers.StartAsync(host, settings, monitor, look);
        return await measureAsync(host);
    }

    private static async Task<List<double>> AskAsync(WatchedHost host)
    {
        await host.AskAsync(Beforehand);
        return await host.AskAsync(Round);
    }

    // In percent.
    private static async Task<double> IdleAsync(WatchedHost host)
    {
        // What has just been started is compiled again in the background.
        await Task.Delay(Settling);
        using var process = Process.GetCurrentProcess();
        var (used, clock) = (process.TotalProcessorTime, Stopwatch.StartNew());
        await Task.Delay(Idle);
        process.Refresh();
        return 100 * (process.TotalProcessorTime - used) / clock.Elapsed;
    }

    private static async Task<(DaemonSettings Host, string Monitor)> SettingsAsync(string directory)
    {
        var monitorAt = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{DemoFleet.FreePort()}");
        var monitor = Path.Combine(directory, "monitor.conf");
        await File.WriteAllTextAsync(monitor, $$"""
            xenpciback {
              fleet { name = monitor, listen = "{{monitorAt}}" }
              web { listen = "127.0.0.1:0", socket = "{{directory}}/monitor.web" }
              log.level = error
            }
            """);
        return (SettingsReader.Read($$"""
            xenpciback {
              control-socket = "{{directory}}/control"
              fleet { enabled = on, name = host, listen = "127.0.0.1:0", seeds = ["{{monitorAt}}"] }
              web { listen = "127.0.0.1:0", socket = "{{directory}}/host.web" }
            }
            """, "benchmark"), monitor);
    }

    private static void PrintLatency(string name, List<List<double>> rounds) =>
        Console.WriteLine($"{name,-60}{Of(rounds, 0.5),9:0.0} us{Of(rounds, 0.99),9:0.0} us");

    private static double Of(List<List<double>> rounds, double quantile) =>
        Statistics.Median(rounds.Select(round => Statistics.Quantile([.. round.Order()], quantile)));

    // All that the data plane does for its instruments.
    private static double Counting()
    {
        var meter = new GuestMeter(new DomainId(1), TimeProvider.System);
        var rounds = new double[5];
        for (var round = 0; round < rounds.Length; round++)
        {
            var began = Stopwatch.GetTimestamp();
            for (var i = 0; i < Countings; i++)
            {
                meter.Arrived();
                meter.Dispatched();
                meter.Answered(meter.Find(default), PciOpCode.ConfRead, PciOpError.Success, isLate: false);
            }
            rounds[round] = Stopwatch.GetElapsedTime(began).TotalNanoseconds / Countings;
        }
        return Statistics.Median(rounds);
    }
}
