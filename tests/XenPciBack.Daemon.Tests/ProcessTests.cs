using System.Text.RegularExpressions;
using static XenPciBack.Daemon.Tests.Xenpciback;

namespace XenPciBack.Daemon.Tests;

/// <summary>The executable itself: what a person types and sees, and the exit code a script gets.</summary>
public sealed partial class ProcessTests
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
