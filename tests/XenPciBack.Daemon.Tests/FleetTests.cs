using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Xunit.Abstractions;

namespace XenPciBack.Daemon.Tests;

/// <summary>Hosts and their monitor as the processes they are.</summary>
public partial class FleetTests(ITestOutputHelper output)
{
    [Fact]
    public async Task Three_hosts_and_a_monitor_show_a_dead_guest_and_a_lost_host_and_end_with_the_command_that_has_started_them()
    {
        using var demo = Xenpciback.Start("demo", "--fleet", "3");
        try
        {
            await SeeThemAsync(demo);
        }
        finally
        {
            // The hosts and the monitor end with it.
            demo.Kill();
        }
    }

    [Theory]
    [InlineData("fleet.listen = \"192.0.2.1:4053\"", "xenpciback.fleet.listen is '192.0.2.1:4053', which other machines reach; expected xenpciback.fleet.tls.certificate, key and authorities with it, or a loopback address")]
    [InlineData("web.listen = \"0.0.0.0:80\"", "xenpciback.web.listen is '0.0.0.0:80', which other machines reach; expected xenpciback.web.tls.certificate and key with it, or a loopback address")]
    public async Task Off_loopback_without_certificates_nothing_starts(string setting, string fault)
    {
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, $"xenpciback.{setting}");
        var (exitCode, _, errors) = await Xenpciback.RunAsync("monitor", "--config", file);
        Assert.Equal((78, $"xenpciback: {file}: {fault}\n"), (exitCode, errors));
        File.Delete(file);
    }

    private async Task SeeThemAsync(Process demo)
    {
        var hosts = new Dictionary<string, (Process Process, string Socket)>();
        foreach (var host in new[] { "host-1", "host-2", "host-3" })
        {
            var line = HostLine().Match(await Xenpciback.WaitForLineAsync(demo, $"{host} is process "));
            hosts[host] = (Process.GetProcessById(int.Parse(line.Groups[1].Value, CultureInfo.InvariantCulture)), line.Groups[2].Value);
        }
        var monitor = (await Xenpciback.WaitForLineAsync(demo, "All hosts: ")).Split("--socket ")[1];
        var dashboard = (await Xenpciback.WaitForLineAsync(demo, "The dashboard of 3 hosts: ")).Split(": ")[1];
        var all = Task.Run(() => demo.StandardOutput.ReadToEndAsync());
        await FleetView.WhenAsync(monitor, fleet => hosts.Keys.All(host => fleet.Connected(host) == 3));

        var clock = Stopwatch.StartNew();
        var fault = await Xenpciback.RunAsync("fault", "aer", "--socket", hosts["host-2"].Socket);
        Assert.Equal((0, ""), (fault.ExitCode, fault.Errors));
        var injected = clock.Elapsed;
        var view = await FleetView.WhenAsync(monitor, fleet => fleet.IncidentsOf("host-2").Any(incident => incident.Kind == "guestKilled"));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"the incident was read from the monitor at most {(clock.Elapsed - injected).TotalSeconds:0.00} s after the fault"));
        view = await FleetView.WhenAsync(monitor, fleet => fleet.Connected("host-2") == 2);
        Assert.Equal((3, 3), (view.Connected("host-1"), view.Connected("host-3")));
        var shown = await Xenpciback.RunAsync("fleet", "status", "--json", "--socket", monitor);
        Assert.Equal((0, ""), (shown.ExitCode, shown.Errors));
        Assert.Equal(view.IncidentsOf("host-2"), FleetView.Of(shown.Output).IncidentsOf("host-2"));
        Assert.Empty(view.IncidentsOf("host-1").Concat(view.IncidentsOf("host-3")));

        hosts["host-3"].Process.Kill();
        view = await FleetView.WhenAsync(monitor, fleet => fleet.PresenceOf("host-3") == "lost");
        Assert.Equal((3, "up", "up"), (view.Connected("host-3"), view.PresenceOf("host-1"), view.PresenceOf("host-2")));

        using var browser = new HttpClient();
        Assert.Contains("xenpciback_fleet_hosts{", await browser.GetStringAsync(new Uri($"{dashboard}/metrics")), StringComparison.Ordinal);
        Assert.Equal("ready\n", await browser.GetStringAsync(new Uri($"{dashboard}/health/ready")));

        // As the out-of-memory killer does: it can do nothing for its children any more.
        demo.Kill();
        await all;
        foreach (var (process, _) in hosts.Values) await process.WaitForExitAsync(Eventually.Limit);
        var (exitCode, _, errors) = await Xenpciback.RunAsync("fleet", "status", "--socket", monitor);
        Assert.Equal(69, exitCode);
        Assert.StartsWith($"xenpciback: no monitor or daemon answers at {monitor}: ", errors, StringComparison.Ordinal);
    }

    [GeneratedRegex(@" is process (\d+); .* --socket (\S+)$")]
    private static partial Regex HostLine();
}
