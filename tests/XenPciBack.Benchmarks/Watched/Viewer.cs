using System.CommandLine;
using XenPciBack.Daemon.Commands;

namespace XenPciBack.Benchmarks.Watched;

/// <summary>Somebody with dashboards open, who scrapes them as well where there is no Prometheus; a process of its own, which says of each dashboard when it has seen it.</summary>
internal static class Viewer
{
    public const string Name = "view", Scrape = "--scrape";

    public static Command CreateCommand()
    {
        var nodes = new Argument<string[]>("nodes") { Description = "The dashboards' addresses" };
        var scrape = new Option<bool>(Scrape) { Description = "Scrape their metrics each second as well" };
        var parent = ChildProcesses.EndsWithParent();
        var command = new Command(Name, "Look at dashboards") { nodes, scrape, parent };
        command.Hidden = true;
        command.SetAction(async (parse, stop) =>
        {
            using var end = ChildProcesses.EndOf(parse.GetValue(parent), stop);
            await RunAsync(parse.GetValue(nodes)!, parse.GetValue(scrape), end.Token);
            return 0;
        });
        return command;
    }

    private static async Task RunAsync(string[] nodes, bool scrapes, CancellationToken stop)
    {
        using var http = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        var looking = nodes.Select(node => FollowAsync(http, node, stop));
        if (scrapes) looking = looking.Concat(nodes.Select(node => ScrapeAsync(http, node, stop)));
        await ((Task)Task.WhenAll(looking)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private static async Task FollowAsync(HttpClient http, string node, CancellationToken stop)
    {
        using var events = new StreamReader(await http.GetStreamAsync(new Uri($"{node}/api/events"), stop));
        for (var isNew = true; await events.ReadLineAsync(stop) is not null; isNew = false)
            if (isNew) Console.WriteLine($"seen: {node}");
    }

    private static async Task ScrapeAsync(HttpClient http, string node, CancellationToken stop)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
        do await http.GetStringAsync(new Uri($"{node}/metrics"), stop);
        while (await timer.WaitForNextTickAsync(stop));
    }
}
