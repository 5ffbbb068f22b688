using System.Diagnostics;
using System.Text.Json;
using System.Xml.Linq;
using XenPciBack.Testing;

namespace XenPciBack.Benchmarks.Tests;

/// <summary>The programs still run. How fast anything is, no test asks.</summary>
public sealed class ProgramTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    [Fact]
    public async Task Scale_measures_each_size_and_prints_the_ratios()
    {
        using var directory = new TemporaryDirectory();
        var (json, picture) = (directory["scale.json"], directory["scale.svg"]);
        var (exitCode, output) =
            await RunAsync("scale", "--quick", "--guests", "2,1", "--json", json, "--picture", picture);
        Assert.Equal(0, exitCode);
        string[] starts = ["connect, ms a guest ", "connect ratio ", "destroy ratio ", "throughput ratio "];
        foreach (var expected in starts)
            Assert.Contains(output.Split('\n'), line => line.StartsWith(expected, StringComparison.Ordinal));
        using var numbers = JsonDocument.Parse(await File.ReadAllTextAsync(json));
        var rounds = numbers.RootElement.GetProperty("rounds").EnumerateArray();
        Assert.Equal([1, 2], rounds.Select(round => round.GetProperty("guests").GetInt32()));
        var lines = XDocument.Load(picture).Descendants().Where(element => element.Name.LocalName == "polyline");
        Assert.Equal(["line0", "line1"], lines.Select(line => line.Attribute("class")!.Value));
    }

    [Fact]
    public async Task Isolation_prints_a_ratio_with_and_without_a_loop_for_each_guest()
    {
        var (exitCode, output) = await RunAsync("isolation", "--quick");
        Assert.True(exitCode == 0, output);
        Assert.Equal(2, output.Split('\n').Count(line => line.StartsWith("p99 ratio ", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Each_pure_benchmark_runs()
    {
        var (exitCode, output) = await RunAsync("pure", "--quick");
        Assert.True(exitCode == 0, output);
        Assert.Contains("OpenDevice", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("1,many")]
    [InlineData("2001")]
    public async Task A_number_of_guests_that_cannot_be_measured_is_refused(string guests) =>
        Assert.NotEqual(0, (await RunAsync("scale", "--guests", guests)).ExitCode);

    [Theory]
    [InlineData]
    [InlineData("pure", "--help")]
    [InlineData("scale", "--help")]
    [InlineData("isolation", "--help")]
    [InlineData("watched", "--help")]
    public async Task The_help_fits_in_80_columns(params string[] arguments)
    {
        var (exitCode, output) = await RunAsync(arguments);
        Assert.Equal(0, exitCode);
        Assert.Contains("Usage:", output, StringComparison.Ordinal);
        Assert.DoesNotContain(output.Split('\n'), line => line.Length > 80);
    }

    private static async Task<(int ExitCode, string Output)> RunAsync(params string[] arguments)
    {
        var program = Path.Combine(AppContext.BaseDirectory, "XenPciBack.Benchmarks");
        using var process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw;
        }
        await errors;
        return (process.ExitCode, await output);
    }
}
