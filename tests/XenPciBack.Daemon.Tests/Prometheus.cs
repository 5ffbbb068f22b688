using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace XenPciBack.Daemon.Tests;

/// <summary>A real Prometheus that scrapes one node every second, with its data and its port to itself.</summary>
internal sealed class Prometheus : IAsyncDisposable
{
    private readonly DirectoryInfo _directory;
    private readonly Process _process;
    private readonly HttpClient _api;

    private Prometheus(DirectoryInfo directory, Process process, string address) => (_directory, _process, _api) = (directory, process, new HttpClient { BaseAddress = new Uri($"http://{address}/api/v1/") });

    /// <param name="node">Its address, as the dashboard has it.</param>
    /// <param name="rules">A file of alert rules, evaluated as often.</param>
    public static async Task<Prometheus> StartAsync(string node, string rules)
    {
        var directory = Directory.CreateTempSubdirectory("xenpciback-prometheus-");
        var settings = Path.Combine(directory.FullName, "prometheus.yml");
        await File.WriteAllTextAsync(settings, $$"""
            global: { scrape_interval: 1s, evaluation_interval: 1s }
            rule_files: ["{{rules}}"]
            scrape_configs:
              - job_name: xenpciback
                static_configs: [ { targets: ["{{new Uri(node).Authority}}"] } ]
            """);
        var process = Process.Start(new ProcessStartInfo("prometheus", [$"--config.file={settings}", "--web.listen-address=127.0.0.1:0", $"--storage.tsdb.path={directory.FullName}/data"]) { RedirectStandardError = true })!;
        using var patience = new CancellationTokenSource(Xenpciback.Patience);
        const string listening = "msg=\"Listening on\" address=";
        while (await process.StandardError.ReadLineAsync(patience.Token) is { } line)
        {
            if (!line.Contains(listening, StringComparison.Ordinal)) continue;
            _ = process.StandardError.ReadToEndAsync(CancellationToken.None);
            return new Prometheus(directory, process, line.Split(listening)[1]);
        }
        throw new InvalidOperationException($"prometheus ended before it listened, with exit code {process.ExitCode}");
    }

    /// <summary>What a query finds: the value of each series, by one of its labels.</summary>
    public async Task<IReadOnlyDictionary<string, double>> QueryAsync(string query, string label) =>
        (await AskAsync($"query?query={Uri.EscapeDataString(query)}")).GetProperty("result").EnumerateArray().ToDictionary(
            series => series.GetProperty("metric").TryGetProperty(label, out var value) ? value.GetString()! : "",
            series => double.Parse(series.GetProperty("value")[1].GetString()!, CultureInfo.InvariantCulture));

    public async Task WhenAsync(string query, string label, Func<IReadOnlyDictionary<string, double>, bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var found = await QueryAsync(query, label);
            if (condition(found)) return;
            Assert.True(clock.Elapsed < Xenpciback.Patience, $"not within {Xenpciback.Patience}: {query} is {string.Join(", ", found)}");
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }
    }

    /// <summary>The alerts that Prometheus has loaded, when it has evaluated each of them; with what it says of their state.</summary>
    public async Task<IReadOnlyDictionary<string, string>> AlertsAsync()
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var rules = (await AskAsync("rules")).GetProperty("groups").EnumerateArray().SelectMany(group => group.GetProperty("rules").EnumerateArray()).ToList();
            if (rules.Count > 0 && rules.All(rule => rule.GetProperty("health").GetString() != "unknown"))
                return rules.ToDictionary(rule => rule.GetProperty("name").GetString()!, rule => rule.GetProperty("health").GetString() == "ok" ? rule.GetProperty("state").GetString()! : $"{rule}");
            Assert.True(clock.Elapsed < Xenpciback.Patience, $"not within {Xenpciback.Patience}: Prometheus has evaluated its rules; they are {string.Join(", ", rules)}");
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _api.Dispose();
        _directory.Delete(recursive: true);
    }

    private async Task<JsonElement> AskAsync(string path)
    {
        using var patience = new CancellationTokenSource(Xenpciback.Patience);
        while (true)
        {
            using var answer = await _api.GetAsync(new Uri(path, UriKind.Relative), patience.Token);
            // Until it has read what it has stored.
            if (answer.StatusCode == System.Net.HttpStatusCode.ServiceUnavailable)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), patience.Token);
                continue;
            }
            answer.EnsureSuccessStatusCode();
            return JsonDocument.Parse(await answer.Content.ReadAsStringAsync(patience.Token)).RootElement.GetProperty("data");
        }
    }
}
