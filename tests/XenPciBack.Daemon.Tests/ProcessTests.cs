using System.Diagnostics;
using System.Text.RegularExpressions;
using static XenPciBack.Daemon.Tests.Xenpciback;

namespace XenPciBack.Daemon.Tests;

/// <summary>The executable itself: what a person types and sees, and the exit code a script gets.</summary>
public partial class ProcessTests
{
    [Fact]
    public async Task The_demo_connects_three_guests_shows_six_devices_and_lets_go_of_everything()
    {
        var (exitCode, output, errors) = await RunAsync("demo", "--once");
        Assert.Equal((0, ""), (exitCode, errors));
        Assert.Matches(SummaryLine(), output);
        Assert.Equal(6, DeviceLine().Count(output));
        Assert.Contains("Every guest is gone; every page, port and device was released.", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_trace_of_the_demo_names_registers_and_rules_until_its_viewer_has_gone()
    {
        var directory = Directory.CreateTempSubdirectory("xenpciback-");
        var socket = Path.Combine(directory.FullName, "xenstored");
        using var demo = Start("demo", "--xenstored-socket", socket);
        await WaitForLineAsync(demo, "Serving until Ctrl-C.");

        using var trace = Start("trace", "--socket", socket + ".control", "web");
        Assert.Matches(@"^\d\d:\d\d:\d\d\.\d{6}   1 0000:03:00\.0 read +000/4 Vendor ID +=", await WaitForLineAsync(trace, "0000:03:00.0"));
        trace.Kill();
        var (exitCode, _, errors) = await RunAsync("trace", "--socket", socket + ".control", "nobody");
        Assert.Equal((1, "xenpciback: there is no guest 'nobody'; expected a domain id, a name, or a device as ssss:bb:dd.f\n"), (exitCode, errors));
        demo.Kill();
        await demo.WaitForExitAsync();
        directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_recording_of_the_demo_replays_without_a_difference_and_a_changed_one_shows_it()
    {
        var directory = Directory.CreateTempSubdirectory("xenpciback-");
        var (socket, file) = (Path.Combine(directory.FullName, "xenstored"), Path.Combine(directory.FullName, "recording"));
        using var demo = Start("demo", "--xenstored-socket", socket);
        await WaitForLineAsync(demo, "Serving until Ctrl-C.");
        using var trace = Start("trace", "--socket", socket + ".control", "--record", file, "web");
        for (var i = 0; i < 4; i++) await WaitForLineAsync(trace, "Vendor ID");
        // As Ctrl-C does; but that is ignored by what a shell has started in the background, this test maybe.
        using (var kill = Process.Start("sh", ["-c", $"kill -TERM {trace.Id}"])) await kill.WaitForExitAsync();
        await trace.WaitForExitAsync();
        demo.Kill();
        await demo.WaitForExitAsync();

        var (exitCode, output, errors) = await RunAsync("replay", file);
        Assert.Equal((0, ""), (exitCode, errors));
        Assert.Matches(@"^\d+ operations replayed: no difference\.$", output.TrimEnd().Split('\n')[^1]);

        var recorded = await File.ReadAllTextAsync(file);
        await File.WriteAllTextAsync(file, recorded.Replace($"\"answer\":{0x10D38086}", "\"answer\":1", StringComparison.Ordinal));
        (exitCode, output, _) = await RunAsync("replay", file);
        Assert.Equal(1, exitCode);
        Assert.Contains("recorded: err 0 value 1\n  now:      err 0 value 10d38086", output, StringComparison.Ordinal);

        await File.WriteAllTextAsync(file, "{}\nnonsense\n");
        (exitCode, _, errors) = await RunAsync("replay", file);
        Assert.Equal(1, exitCode);
        Assert.StartsWith($"xenpciback: {file}:2: is no line of a recording: ", errors, StringComparison.Ordinal);
        directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_trace_without_a_daemon_says_where_it_looked()
    {
        var (exitCode, _, errors) = await RunAsync("trace", "--socket", "/nowhere/control");
        Assert.Equal(69, exitCode);
        Assert.StartsWith("xenpciback: no daemon answers at /nowhere/control: ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_xen_run_says_so_and_what_to_do()
    {
        if (File.Exists("/proc/xen/capabilities")) return;
        var (exitCode, _, errors) = await RunAsync("run");
        Assert.Equal(69, exitCode);
        Assert.StartsWith("xenpciback: not running on Xen: ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_wrong_setting_stops_the_start()
    {
        var (exitCode, _, errors) = await RunAsync("run", "--config", "/no/such/file");
        Assert.Equal(78, exitCode);
        Assert.StartsWith("xenpciback: /no/such/file: cannot be read: ", errors, StringComparison.Ordinal);
    }

    [GeneratedRegex("^3 guests connected, 6 devices enumerated in ", RegexOptions.Multiline)]
    private static partial Regex SummaryLine();

    [GeneratedRegex(@"^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] .* \[[0-9a-f]{4}:[0-9a-f]{4}\]", RegexOptions.Multiline)]
    private static partial Regex DeviceLine();
}
