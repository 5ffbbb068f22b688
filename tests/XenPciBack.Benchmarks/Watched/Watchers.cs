using System.Diagnostics;
using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Fleet;

namespace XenPciBack.Benchmarks.Watched;

/// <summary>
/// What the daemon has for those who watch it, in its own process, and those who do: a monitor in one fleet with it, a Prometheus that scrapes both each second, a viewer with both dashboards open.
/// In truth these are on other machines; here they are processes that run when nobody else wants to.
/// </summary>
internal sealed class Watchers : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1), BetweenLooks = TimeSpan.FromMilliseconds(100);

    private readonly ChildProcesses _children = new();
    private readonly string _directory;
    private readonly Exposure _exposure;
    private Process? _prometheus;

    private Watchers(string directory, Exposure exposure) => (_directory, _exposure) = (directory, exposure);

    /// <summary>Whether there is a Prometheus; otherwise the viewer scrapes as often.</summary>
    public static bool HavePrometheus { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, "prometheus")));

    /// <summary>Fleet and web view, as the monitor that they report to shows.</summary>
    /// <param name="monitor">The monitor's settings, a file.</param>
    /// <param name="look">Whether anybody looks at the web views.</param>
    public static async Task<Watchers> StartAsync(WatchedHost host, DaemonSettings settings, string monitor, bool look)
    {
        var directory = Path.GetDirectoryName(monitor)!;
        var watchers = new Watchers(directory, Exposure.OfHost(settings, host.Services, () => true));
        try
        {
            string[] nodes = [await watchers.MonitorAsync(monitor), await watchers.ShownAtAsync()];
            await UntilAsync($"{nodes[0]}/api/fleet", text => text.Contains($"\"host\":\"{settings.Fleet.Name}\"", StringComparison.Ordinal) && text.Contains("\"presence\":\"up\"", StringComparison.Ordinal));
            if (look) await watchers.LookAsync(nodes);
            return watchers;
        }
        catch
        {
            await watchers.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_prometheus is not null)
        {
            _prometheus.Kill();
            await _prometheus.WaitForExitAsync();
            _prometheus.Dispose();
            Directory.Delete(Path.Combine(_directory, "prometheus"), recursive: true);
        }
        await _exposure.DisposeAsync();
        _children.Dispose();
    }

    private async Task<string> MonitorAsync(string settings)
    {
        const string announced = "The dashboard: ";
        var shown = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        _children.Start(["monitor", "--config", settings], line =>
        {
            if (line.StartsWith(announced, StringComparison.Ordinal)) shown.TrySetResult(line[announced.Length..]);
        });
        return await shown.Task.WaitAsync(Patience);
    }

    private async Task<string> ShownAtAsync()
    {
        var clock = Stopwatch.StartNew();
        while (_exposure.Address is null && clock.Elapsed < Patience) await Task.Delay(BetweenLooks);
        return _exposure.Address ?? throw new TimeoutException($"the host's web view is not there after {Patience}");
    }

    private async Task LookAsync(string[] nodes)
    {
        var seen = new CountdownEvent(nodes.Length);
        _children.Start([Viewer.Name, .. HavePrometheus ? nodes : nodes.Append(Viewer.Scrape)], _ => seen.Signal());
        if (HavePrometheus) await ScrapeAsync(nodes);
        if (!await Task.Run(() => seen.Wait(Patience))) throw new TimeoutException($"the viewer has seen nothing after {Patience}");
    }

    private async Task ScrapeAsync(string[] nodes)
    {
        var directory = Directory.CreateDirectory(Path.Combine(_directory, "prometheus")).FullName;
        await File.WriteAllTextAsync(Path.Combine(directory, "prometheus.yml"), $$"""
            global: { scrape_interval: 1s }
            scrape_configs:
              - job_name: xenpciback
                static_configs: [ { targets: [{{string.Join(", ", nodes.Select(node => $"'{new Uri(node).Authority}'"))}}] } ]
            """);
        _prometheus = Process.Start(new ProcessStartInfo("nice",
            ["-n", "19", "prometheus", $"--config.file={directory}/prometheus.yml", "--web.listen-address=127.0.0.1:0", $"--storage.tsdb.path={directory}/data"]) { RedirectStandardError = true })!;
        const string listening = "msg=\"Listening on\" address=";
        while (await _prometheus.StandardError.ReadLineAsync().WaitAsync(Patience) is { } line)
        {
            if (!line.Contains(listening, StringComparison.Ordinal)) continue;
            _ = _prometheus.StandardError.ReadToEndAsync();
            // Both have been scraped.
            await UntilAsync($"http://{line.Split(listening)[1]}/api/v1/query?query=sum(up)", text => text.Contains(",\"2\"]", StringComparison.Ordinal));
            return;
        }
        throw new InvalidOperationException("prometheus ended before it listened");
    }

    private static async Task UntilAsync(string address, Func<string, bool> condition)
    {
        using var http = new HttpClient();
        var clock = Stopwatch.StartNew();
        while (true)
        {
            using var answer = await http.GetAsync(new Uri(address));
            var text = await answer.Content.ReadAsStringAsync();
            if (answer.IsSuccessStatusCode && condition(text)) return;
            if (clock.Elapsed > Patience) throw new TimeoutException($"{address} still says after {Patience}: {text}");
            await Task.Delay(BetweenLooks);
        }
    }
}
