using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace XenPciBack.Daemon.Tests;

/// <summary>A real Prometheus that scrapes one node twice a second, with its data and its port to itself.</summary>
internal sealed class Prometheus : IAsyncDisposable
{
    private readonly TemporaryDirectory _directory;
    private readonly Process _process;
    private readonly HttpClient _api;

    private Prometheus(TemporaryDirectory directory, Process process, string address)
    {
        (_directory, _process) = (directory, process);
        _api = new HttpClient { BaseAddress = new Uri($"http://{address}/api/v1/") };
    }

    /// <param name="node">Its address, as the dashboard has it.</param>
    /// <param name="rules">A file of alert rules, evaluated as often.</param>
    public static async Task<Prometheus> StartAsync(string node, string rules)
    {
        var directory = new TemporaryDirectory();
        var settings = directory["prometheus.yml"];
        await File.WriteAllTextAsync(settings, $$"""
            global: { scrape_interval: 500ms, evaluation_interval: 500ms }
            rule_files: ["{{rules}}"]
            scrape_configs:
              - job_name: xenpciback
                static_configs: [ { targets: ["{{new Uri(node).Authority}}"] } ]
            """);
        string[] arguments =
        [
            $"--config.file={settings}", "--web.listen-address=127.0.0.1:0", $"--storage.tsdb.path={directory["data"]}",
        ];
        var process = Process.Start(new ProcessStartInfo("prometheus", arguments) { RedirectStandardError = true })!;
        const string listening = "msg=\"Listening on\" address=";
        while (await process.StandardError.ReadLineAsync(Eventually.Limit) is { } line)
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
        IReadOnlyDictionary<string, double> found = new Dictionary<string, double>();
        await Eventually.IsTrueAsync(
            async () => condition(found = await QueryAsync(query, label)),
            () => $"{query} is {string.Join(", ", found)}");
    }

    /// <summary>The alerts that Prometheus has loaded, when it has evaluated each of them; with what it says of their state.</summary>
    public async Task<IReadOnlyDictionary<string, string>> AlertsAsync()
    {
        List<JsonElement> rules = [];
        await Eventually.IsTrueAsync(async () =>
        {
            var groups = (await AskAsync("rules")).GetProperty("groups").EnumerateArray();
            rules = [.. groups.SelectMany(group => group.GetProperty("rules").EnumerateArray())];
            return rules.Count > 0 && rules.All(rule => rule.GetProperty("health").GetString() != "unknown");
        }, () => $"the rules are {string.Join(", ", rules)}");
        return rules.ToDictionary(rule => rule.GetProperty("name").GetString()!, StateOf);

        static string StateOf(JsonElement rule) =>
            rule.GetProperty("health").GetString() == "ok" ? rule.GetProperty("state").GetString()! : $"{rule}";
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _api.Dispose();
        _directory.Dispose();
    }

    private async Task<JsonElement> AskAsync(string path)
    {
        var data = default(JsonElement);
        await Eventually.IsTrueAsync(async () =>
        {
            using var answer = await _api.GetAsync(new Uri(path, UriKind.Relative), Eventually.Limit);
            // Until it has read what it has stored.
            if (answer.StatusCode == System.Net.HttpStatusCode.ServiceUnavailable) return false;
            answer.EnsureSuccessStatusCode();
            data = JsonDocument.Parse(await answer.Content.ReadAsStringAsync()).RootElement.GetProperty("data");
            return true;
        }, what: $"Prometheus answers {path}");
        return data;
    }
}
