using System.Globalization;
using System.Text.RegularExpressions;

namespace XenPciBack.Lab.Churn;

/// <summary>How long the toolstack took for what, in ms.</summary>
internal sealed partial class ToolstackTimes
{
    private readonly SortedDictionary<string, List<int>> _times = new(StringComparer.Ordinal);

    /// <summary>The longest that anything took beyond the shortest time of its kind; but for creating guests, which waits for memory and for CPUs above all.</summary>
    public int LongestDelay => _times.Where(kind => kind.Key != "create").Select(kind => kind.Value.Max() - kind.Value.Min()).DefaultIfEmpty().Max();

    /// <summary>Adds lines such as "attach 812"; others are ignored.</summary>
    public void Add(string output)
    {
        foreach (Match line in Time().Matches(output))
        {
            var what = line.Groups["what"].Value;
            if (!_times.TryGetValue(what, out var times)) _times[what] = times = [];
            times.Add(int.Parse(line.Groups["ms"].Value, CultureInfo.InvariantCulture));
        }
    }

    /// <summary>The time in the only line about this, such as "attach 812".</summary>
    public static int Single(string output, string what)
    {
        var lines = Time().Matches(output).Where(line => line.Groups["what"].Value == what).ToList();
        return lines is [var line] ? int.Parse(line.Groups["ms"].Value, CultureInfo.InvariantCulture)
            : throw new LabException($"expected one line '{what} MILLISECONDS', dom0 said: {output}");
    }

    /// <summary>A line for each kind: how many, and the shortest, median, ninetieth percentile and longest.</summary>
    public override string ToString() => string.Join('\n', _times.Select(kind =>
    {
        var sorted = kind.Value.Order().ToList();
        return $"{kind.Key,-10} {sorted.Count,4} times, ms: {sorted[0],6} shortest, {sorted[sorted.Count / 2],6} median, {sorted[sorted.Count * 9 / 10],6} p90, {sorted[^1],6} longest";
    }));

    [GeneratedRegex(@"^(?<what>[a-z]+) (?<ms>\d+)$", RegexOptions.CultureInvariant | RegexOptions.Multiline)]
    private static partial Regex Time();
}
