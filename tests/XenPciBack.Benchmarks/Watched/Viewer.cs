namespace XenPciBack.Benchmarks;

/// <summary>Somebody with dashboards open, who scrapes them as well where there is no Prometheus; a process of its own, which says of each dashboard when it has seen it.</summary>
internal static class Viewer
{
    public const string Command = "view", Scrape = "--scrape";

    /// <param name="arguments">The dashboards' addresses.</param>
    public static async Task RunAsync(IReadOnlyList<string> arguments, CancellationToken stop)
    {
        using var http = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        var nodes = arguments.Where(argument => argument.StartsWith("http", StringComparison.Ordinal)).ToList();
        var looking = nodes.Select(node => FollowAsync(http, node, stop));
        if (arguments.Contains(Scrape)) looking = looking.Concat(nodes.Select(node => ScrapeAsync(http, node, stop)));
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
