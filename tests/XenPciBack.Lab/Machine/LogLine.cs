using System.Globalization;
using System.Text.RegularExpressions;

namespace XenPciBack.Lab.Machine;

/// <summary>
/// A line of the daemon's log that has an id: <c>00:20:01.123 ERR [guest-crashed] Guest 3 0000:03:00.0: text</c>.
/// </summary>
/// <param name="At">dom0's time of day.</param>
/// <param name="Event">One of XenPciBack.Backend.LogEvents.</param>
/// <param name="Guest">The domain it is about, if it is about one.</param>
/// <param name="Device">The device it is about, if it is about one.</param>
/// <param name="Text">What it says, in words that may change.</param>
public sealed partial record LogLine(TimeSpan At, string Event, int? Guest, string? Device, string Text)
{
    /// <summary>The lines of a log that have an id.</summary>
    public static IReadOnlyList<LogLine> Parse(string log) =>
    [
        .. Line().Matches(log).Select(line => new LogLine(
            TimeSpan.ParseExact(line.Groups["at"].Value, @"hh\:mm\:ss\.fff", CultureInfo.InvariantCulture),
            line.Groups["event"].Value,
            Value(line, "guest") is { } guest ? int.Parse(guest, CultureInfo.InvariantCulture) : null,
            Value(line, "device"),
            line.Groups["text"].Value)),
    ];

    /// <summary>What grep (without -E) finds such lines by.</summary>
    public static string Pattern(string id, int? guest = null, string? device = null)
    {
        var ofGuest = guest is null ? @"\(Guest [0-9]* \)\?" : $"Guest {guest} ";
        var about = (guest, device) switch
        {
            (null, null) => "",
            (_, null) => $"Guest {guest}[ :]",
            _ => $"{ofGuest}{device.Replace(".", @"\.", StringComparison.Ordinal)}: ",
        };
        return $@"\[{id}\] {about}";
    }

    private static string? Value(Match line, string group) =>
        line.Groups[group] is { Success: true, Value: var value } ? value : null;

    [GeneratedRegex("""
        ^(?<at>\d\d:\d\d:\d\d\.\d{3})\ [A-Z]{3}\ \[(?<event>[a-z-]+)\]\ # time, level, id
        ((Guest\ (?<guest>\d+))?(\ ?(?<device>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d))?:\ )?(?<text>.*)$
        """,
        RegexOptions.Multiline | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture
        | RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex Line();
}
