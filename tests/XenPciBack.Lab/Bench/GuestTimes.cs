using System.Globalization;

namespace XenPciBack.Lab.Bench;

/// <summary>What Scripts/bench.pl prints in a guest.</summary>
internal static class GuestTimes
{
    /// <summary>Lines such as "reads 861235481": what was timed, and nanoseconds.</summary>
    public static IReadOnlyDictionary<string, long> Parse(string output) =>
        output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(ParseLine).ToDictionary();

    private static KeyValuePair<string, long> ParseLine(string line) =>
        line.Split(' ') is [var what, var time]
        && long.TryParse(time, CultureInfo.InvariantCulture, out var nanoseconds)
            ? KeyValuePair.Create(what, nanoseconds)
            : throw new LabException($"bench.pl printed '{line}'; expected a word and nanoseconds");
}
