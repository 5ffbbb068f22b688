using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Testing;

namespace XenPciBack.Models.Tests;

/// <summary>What a search of all states has found.</summary>
/// <param name="Broken">The property that does not hold; null if all do.</param>
/// <param name="CounterExample">The last steps on the way there, each with the line of the model.</param>
internal sealed record Finding(int States, string? Broken, IReadOnlyList<string> CounterExample);

/// <summary>Searches a model's states: spin writes the verifier, gcc compiles it, the verifier searches.</summary>
internal static partial class Spin
{
    /// <summary>The property that needs no assertion: nobody waits where the model comes to its end.</summary>
    public const string EveryRequestIsAnswered = "every request is answered in the end";

    /// <summary>The longest execution, in steps. The longest of ours has some two hundred.</summary>
    private const int MostSteps = 10_000;

    private const int MostMebibytes = 512;

    /// <summary>Of the table of states: two to the power of this many entries.</summary>
    private const int TableBits = 20;

    private const int StepsShown = 16;

    /// <param name="switches">Names for <c>-D</c>.</param>
    /// <param name="expected">The property that is expected not to hold; null: all are expected to hold.</param>
    /// <exception cref="InvalidOperationException">The search failed or is not complete.</exception>
    public static async Task<Finding> SearchAsync(Model model, IReadOnlyList<string> switches, string? expected)
    {
        using var directory = new TemporaryDirectory();
        string[] defined = [.. switches.Select(name => $"-D{name}")];
        await RunAsync("spin", [.. defined, "-a", model.Path]);
        // Compiling takes longer than most searches: less of it is faster in all.
        var level = expected is null ? "-O1" : "-O0";
        await RunAsync("gcc", "-w", level, "-DSAFETY", $"-DMEMLIM={MostMebibytes}", "-o", "pan", "pan.c");
        // Where an assertion is expected to fail, an end at which somebody waits is no error.
        string[] ends = expected is null or EveryRequestIsAnswered ? [] : ["-E"];
        var report = await RunAsync(directory["pan"], [$"-m{MostSteps}", $"-w{TableBits}", .. ends]);

        var states = (int)double.Parse(Only(States(), report), CultureInfo.InvariantCulture);
        if (Only(Errors(), report) == "0")
            return report.Contains("not completed") || report.Contains("too small") ? throw Incomplete(report)
                : new Finding(states, null, []);

        var trail = await RunAsync("spin", [.. defined, "-p", "-k", $"{model.Name}.pml.trail", model.Path]);
        var broken = report.Contains("invalid end state (") ? EveryRequestIsAnswered
            : report.Contains("assertion violated") ? model.PropertyAt(LineOf(Only(FailedAt(), trail)))
            : throw Incomplete(report);
        return new Finding(states, broken, Steps(model, trail));

        async Task<string> RunAsync(string program, params string[] arguments)
        {
            var command = $"{program} {string.Join(' ', arguments)}";
            using var process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                WorkingDirectory = directory.Path, RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            var output = process.StandardOutput.ReadToEndAsync();
            var errors = process.StandardError.ReadToEndAsync();
            try
            {
                await process.WaitForExitAsync(Eventually.Limit);
            }
            catch (OperationCanceledException)
            {
                process.Kill();
                throw new TimeoutException($"{command} still ran after {Eventually.Patience.TotalSeconds} s");
            }
            var said = await output + await errors;
            return process.ExitCode == 0 ? said
                : throw new InvalidOperationException($"{command}: exit code {process.ExitCode}\n{said}");
        }
    }

    private static string Only(Regex pattern, string text) =>
        pattern.Match(text) is { Success: true } match ? match.Groups[1].Value : throw Incomplete(text);

    private static InvalidOperationException Incomplete(string report) =>
        new($"this is not the report of a complete search:\n{report}");

    private static int LineOf(string number) => int.Parse(number, CultureInfo.InvariantCulture);

    private static IReadOnlyList<string> Steps(Model model, string trail)
    {
        var steps = new List<string>();
        foreach (Match step in Step().Matches(trail))
        {
            var line = LineOf(step.Groups[2].Value);
            var text = $"{step.Groups[1].Value,-14} {line,4}  {model.Lines[line - 1].Trim()}";
            if (steps.LastOrDefault() != text) steps.Add(text);
        }
        return [.. steps.TakeLast(StepsShown)];
    }

    [GeneratedRegex(@"^\s*([\d.e+]+)\s+states, stored", RegexOptions.Multiline)]
    private static partial Regex States();

    [GeneratedRegex(@"errors: (\d+)")]
    private static partial Regex Errors();

    [GeneratedRegex(@"\.pml:(\d+), Error: assertion violated")]
    private static partial Regex FailedAt();

    [GeneratedRegex(@"^\s*\d+:\s+proc\s+\d+ \((\w+):\d+\) \S+\.pml:(\d+) \(state \d+\)\s+\[", RegexOptions.Multiline)]
    private static partial Regex Step();
}
