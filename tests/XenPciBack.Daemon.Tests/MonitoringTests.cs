using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using XenPciBack.Backend.Status;

namespace XenPciBack.Daemon.Tests;

/// <summary>What stands in config/ for Prometheus and Grafana: the tools accept it, it speaks of metrics that exist, and a Prometheus that runs makes of it what it should.</summary>
public partial class MonitoringTests
{
    private static readonly string Rules = Path.Combine(Root(), "config/prometheus/xenpciback.rules.yml"), Dashboard = Path.Combine(Root(), "config/grafana/xenpciback.json");

    [PrometheusFact]
    public async Task The_alert_rules_are_rules() => Assert.Equal("", await RunPromtoolAsync("check", "rules", Rules));

    [PrometheusFact]
    public async Task The_alerts_fire_when_they_should_and_not_before() =>
        Assert.Equal("", await RunPromtoolAsync("test", "rules", Path.ChangeExtension(Rules, ".test.yml")));

    [PrometheusFact]
    public async Task A_prometheus_that_scrapes_a_host_knows_its_guests_and_raises_the_alarm_when_one_is_killed()
    {
        const string at = "metrics for Prometheus at ";
        var (demo, line) = await Demo.StartAsync(at);
        await using var _d = demo;
        var metrics = line.Split(at)[1];
        await using var prometheus = await Prometheus.StartAsync(metrics, Rules);

        await prometheus.WhenAsync("up", "job", jobs => jobs.GetValueOrDefault("xenpciback") == 1);
        await prometheus.WhenAsync(
            "sum by (domain) (xenpciback_operations_total)", "domain",
            operations => operations.Count == 3 && operations.Values.All(count => count > 0));
        await prometheus.WhenAsync(
            "xenpciback_operation_duration_seconds_count{opcode='conf_read'}", "opcode",
            counts => counts.GetValueOrDefault("conf_read") > 0);
        var alerts = await prometheus.AlertsAsync();
        var names = AlertName().Matches(await File.ReadAllTextAsync(Rules)).Select(name => name.Groups[1].Value);
        Assert.Equal(names, alerts.Keys);
        // Before the first scrape there was nothing to see, which is no alarm for a while.
        Assert.All(alerts.Values, state => Assert.Contains(state, (string[])["inactive", "pending"]));
        Assert.Equal(0, (await prometheus.QueryAsync("xenpciback_guest_kills_total", "job"))["xenpciback"]);

        Assert.Equal(0, (await Xenpciback.RunAsync("fault", "aer", "--socket", demo.Socket)).ExitCode);
        await prometheus.WhenAsync(
            "xenpciback_guest_kills_total", "job", kills => kills.GetValueOrDefault("xenpciback") == 1);
        await prometheus.WhenAsync(
            "ALERTS{alertstate='firing'}", "alertname",
            firing => firing.Keys.Order().SequenceEqual(["XenPciBackDeviceInQuarantine", "XenPciBackGuestKilled"]));
        // Of a guest that is no more nothing is shown.
        await prometheus.WhenAsync(
            "sum by (domain) (xenpciback_operations_total)", "domain",
            operations => operations.Keys.Order().SequenceEqual(["2", "3"]));
    }

    [Fact]
    public void Rules_and_dashboard_speak_of_metrics_that_exist()
    {
        var known = MetricNames();
        foreach (var file in (string[])[Rules, Dashboard])
        {
            var named = MetricName().Matches(File.ReadAllText(file)).Select(match => match.Value).ToHashSet();
            Assert.True(named.Count > 5);
            Assert.Empty(named.Except(known));
        }
    }

    [Fact]
    public void Each_panel_of_the_dashboard_has_a_place_and_a_question()
    {
        using var dashboard = JsonDocument.Parse(File.ReadAllText(Dashboard));
        var panels = dashboard.RootElement.GetProperty("panels").EnumerateArray().ToList();
        Assert.All(panels, panel => Assert.NotEmpty(panel.GetProperty("targets").EnumerateArray().Select(target => target.GetProperty("expr").GetString())));
        var places = panels.Select(panel => panel.GetProperty("gridPos")).Select(place => (place.GetProperty("x").GetInt32(), place.GetProperty("y").GetInt32())).ToList();
        Assert.Equal(places.Distinct(), places);
    }

    /// <summary>As OpenTelemetry's exporter for Prometheus names what the instruments show.</summary>
    private static HashSet<string> MetricNames()
    {
        var names = new HashSet<string>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, _) =>
            {
                if (instrument.Meter.Name == "XenPciBack") names.UnionWith(MetricNamesOf(instrument));
            },
        };
        using var meters = new BackendMeters(TimeProvider.System);
        meters.Show();
        listener.Start();
        return names;
    }

    private static IEnumerable<string> MetricNamesOf(Instrument instrument)
    {
        var name = instrument.Name.Replace('.', '_');
        return instrument switch
        {
            // Units in braces are remarks.
            Histogram<double> { Unit: "s" } => [$"{name}_seconds_bucket", $"{name}_seconds_sum", $"{name}_seconds_count"],
            ObservableCounter<long> { Unit: ['{', ..] } => [$"{name}_total"],
            ObservableUpDownCounter<long> { Unit: ['{', ..] } => [name],
            _ => throw new InvalidOperationException($"how {instrument.Name} in {instrument.Unit} is exported is not known here"),
        };
    }

    private static async Task<string> RunPromtoolAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("promtool", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? "" : await output + await errors;
    }

    private static string Root()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "XenPciBack.sln"))) directory = Path.GetDirectoryName(directory)!;
        return directory;
    }

    [GeneratedRegex("xenpciback_[a-z_]+")]
    private static partial Regex MetricName();

    [GeneratedRegex("- alert: (.+)")]
    private static partial Regex AlertName();
}

/// <summary>Runs where Prometheus and its own tool are.</summary>
public sealed class PrometheusFactAttribute : FactAttribute
{
    public PrometheusFactAttribute([CallerMemberName] string test = "")
    {
        var directories = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        if (((string[])["prometheus", "promtool"]).All(tool => directories.Any(directory => File.Exists(Path.Combine(directory, tool))))) return;
        Skip = "needs prometheus and promtool from Debian's package prometheus";
        // `dotnet test` prints the names of skipped tests and not the reasons.
        DisplayName = $"{test}: {Skip}";
    }
}
