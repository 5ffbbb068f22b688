using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using XenPciBack.Actors.Status;

namespace XenPciBack.Daemon.Tests;

/// <summary>What stands in config/ for Prometheus and Grafana: the tools accept it, and it speaks of metrics that exist.</summary>
public partial class MonitoringTests
{
    private static readonly string Rules = Path.Combine(Root(), "config/prometheus/xenpciback.rules.yml"), Dashboard = Path.Combine(Root(), "config/grafana/xenpciback.json");

    [PromtoolFact]
    public async Task The_alert_rules_are_rules() => Assert.Equal("", await RunPromtoolAsync("check", "rules", Rules));

    [PromtoolFact]
    public async Task The_alerts_fire_when_they_should_and_not_before() =>
        Assert.Equal("", await RunPromtoolAsync("test", "rules", Path.ChangeExtension(Rules, ".test.yml")));

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
        using var meters = new BackendMeters();
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
}

/// <summary>Runs where Prometheus's own tool is.</summary>
public sealed class PromtoolFactAttribute : FactAttribute
{
    public PromtoolFactAttribute([CallerMemberName] string test = "")
    {
        if ((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, "promtool")))) return;
        Skip = "needs promtool from Debian's package prometheus";
        // `dotnet test` prints the names of skipped tests and not the reasons.
        DisplayName = $"{test}: {Skip}";
    }
}
