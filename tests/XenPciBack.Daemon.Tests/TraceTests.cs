using System.Diagnostics;
using static XenPciBack.Daemon.Tests.Xenpciback;

namespace XenPciBack.Daemon.Tests;

/// <summary>The trace of a demo that both tests leave as it was.</summary>
public sealed class TraceTests(Demo demo) : IClassFixture<Demo>
{
    [Fact]
    public async Task A_trace_of_the_demo_names_registers_and_rules_until_its_viewer_has_gone()
    {
        using var trace = Start("trace", "--socket", demo.Socket, "web");
        Assert.Matches(
            @"^\d\d:\d\d:\d\d\.\d{6}   1 0000:03:00\.0 read +000/4 Vendor ID +=",
            await WaitForLineAsync(trace, "0000:03:00.0"));
        trace.Kill();
        var (exitCode, _, errors) = await RunAsync("trace", "--socket", demo.Socket, "nobody");
        Assert.Equal(
            (1, "xenpciback: there is no guest 'nobody'; expected a domain id, a name, or a device as ssss:bb:dd.f\n"),
            (exitCode, errors));
    }

    [Fact]
    public async Task A_recording_of_the_demo_replays_without_a_difference_and_a_changed_one_shows_it()
    {
        var file = demo["recording"];
        using var trace = Start("trace", "--socket", demo.Socket, "--record", file, "web");
        for (var i = 0; i < 4; i++) await WaitForLineAsync(trace, "Vendor ID");
        // As Ctrl-C does; but that is ignored by what a shell has started in the background, this test maybe.
        using (var kill = Process.Start("sh", ["-c", $"kill -TERM {trace.Id}"])) await kill.WaitForExitAsync();
        await trace.WaitForExitAsync();

        var (exitCode, output, errors) = await RunAsync("replay", file);
        Assert.Equal((0, ""), (exitCode, errors));
        Assert.Matches(@"^\d+ operations replayed: no difference\.$", output.TrimEnd().Split('\n')[^1]);

        var recorded = await File.ReadAllTextAsync(file);
        var changed = recorded.Replace($"\"answer\":{0x10D38086}", "\"answer\":1", StringComparison.Ordinal);
        await File.WriteAllTextAsync(file, changed);
        (exitCode, output, _) = await RunAsync("replay", file);
        Assert.Equal(1, exitCode);
        Assert.Contains("recorded: err 0 value 1\n  now:      err 0 value 10d38086", output, StringComparison.Ordinal);

        await File.WriteAllTextAsync(file, "{}\nnonsense\n");
        (exitCode, _, errors) = await RunAsync("replay", file);
        Assert.Equal(1, exitCode);
        Assert.StartsWith($"xenpciback: {file}:2: is no line of a recording: ", errors, StringComparison.Ordinal);
    }
}
