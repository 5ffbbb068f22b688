using System.Diagnostics;
using System.Globalization;
using XenPciBack.Actors.Status;
using XenPciBack.Benchmarks;
using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;

// What it costs a guest that its daemon is watched: the same guest of the same daemon, once with nobody there, once with everything on that a fleet has, in turns, so that both have the same share of
// whatever else the machine does. In between all of it is ended, other processes and all: a watched daemon beside the other one would take from both. The median of the rounds counts.
const int Rounds = 9, Countings = 2_000_000;
TimeSpan round = TimeSpan.FromSeconds(5), beforehand = TimeSpan.FromSeconds(1), idle = TimeSpan.FromSeconds(30), settling = TimeSpan.FromSeconds(10);

// The processes of those who watch.
if (args is ["monitor" or Viewer.Command, ..])
{
    LowPriority.OfThisThread();
    if (args[0] == "monitor") return await MonitorCommand.Create().Parse(args[1..]).InvokeAsync();
    using var end = ChildProcesses.EndOf(isChild: true, CancellationToken.None);
    await Viewer.RunAsync(args, end.Token);
    return 0;
}

using var directory = new TemporaryDirectory();
var (settings, monitor) = await SettingsAsync(directory.Path);
await using var host = await Host.StartAsync(settings, directory.Path);

var (quiet, watched) = (new List<List<double>>(), new List<List<double>>());
for (var i = 0; i <= Rounds; i++)
{
    var (alone, observed) = (await AskAsync(), await WatchedAsync(look: true, AskAsync));
    // The first time much is compiled.
    if (i == 0) continue;
    quiet.Add(alone);
    watched.Add(observed);
}
Print($"event to answer as the guest sees it, median of {Rounds} rounds of {round.TotalSeconds} s, {quiet.Sum(took => took.Count) + watched.Sum(took => took.Count)} requests in all");
Print($"{"",-60}{"p50",12}{"p99",12}");
Print($"{"nobody looks",-60}{Of(quiet, 0.5),9:0.0} us{Of(quiet, 0.99),9:0.0} us");
Print($"{$"fleet, open dashboards, scraped each second by {(Watchers.HavePrometheus ? "Prometheus" : "HTTP")}",-60}{Of(watched, 0.5),9:0.0} us{Of(watched, 0.99),9:0.0} us");
Print($"{"ratio",-60}{Of(watched, 0.5) / Of(quiet, 0.5),12:0.00}{Of(watched, 0.99) / Of(quiet, 0.99),12:0.00}");
Print($"counting one operation takes {Counting():0} ns, {Counting() / Of(quiet, 0.5) / 10:0.0} % of the p50 above, where it is included");

Print($"processor time of the daemon's process while its guest asks nothing, of one core, over {idle.TotalSeconds} s");
Print($"{"alone",-60}{await IdleAsync(),10:0.00} %");
Print($"{"fleet and web view on",-60}{await WatchedAsync(look: false, IdleAsync),10:0.00} %");
Print($"{"watched as above",-60}{await WatchedAsync(look: true, IdleAsync),10:0.00} %");
return 0;

async Task<T> WatchedAsync<T>(bool look, Func<Task<T>> measureAsync)
{
    await using var watchers = await Watchers.StartAsync(host, settings, monitor, look);
    return await measureAsync();
}

async Task<List<double>> AskAsync()
{
    await host.AskAsync(beforehand);
    return await host.AskAsync(round);
}

// In percent.
async Task<double> IdleAsync()
{
    // What has just been started is compiled again in the background.
    await Task.Delay(settling);
    using var process = Process.GetCurrentProcess();
    var (used, clock) = (process.TotalProcessorTime, Stopwatch.StartNew());
    await Task.Delay(idle);
    process.Refresh();
    return 100 * (process.TotalProcessorTime - used) / clock.Elapsed;
}

static async Task<(DaemonSettings Host, string Monitor)> SettingsAsync(string directory)
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

static double Of(List<List<double>> rounds, double quantile) => Median([.. rounds.Select(round => round.Order().ElementAt((int)(quantile * (round.Count - 1))))]);

static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

// All that the data plane does for its instruments.
static double Counting()
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
    return Median(rounds);
}

static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
