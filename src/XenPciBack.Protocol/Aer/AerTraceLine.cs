using System.Collections.Immutable;
using System.Globalization;
using System.Text.RegularExpressions;

namespace XenPciBack.Protocol.Aer;

/// <summary>A line of the kernel's trace, in the text form of <c>trace_pipe</c>: the event <c>ras:aer_event</c>.</summary>
/// <remarks>Linux include/ras/ras_event.h.</remarks>
public static partial class AerTraceLine
{
    /// <returns>The error, or null if the line is about something else.</returns>
    public static AerError? TryParse(string line)
    {
        if (Event().Match(line) is not { Success: true } found || !HostBdf.TryParse(found.Groups["bdf"].Value, out var device)) return null;
        var severity = found.Groups["severity"].Value switch
        {
            "Corrected" => AerSeverity.Correctable,
            "Fatal" => AerSeverity.Fatal,
            _ => AerSeverity.NonFatal,
        };
        return new AerError(device, severity, ParseStatus(severity, found.Groups["status"].Value), ParseHeader(found.Groups["header"].Value), AerSource.Trace);
    }

    /// <summary>How many records the kernel dropped before this line because nobody read them in time; 0 for other lines.</summary>
    public static long LostBefore(string line) =>
        Lost().Match(line) is { Success: true } lost && long.TryParse(lost.Groups[1].Value, NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : 0;

    // Names joined by |, and what has no name as one number in hexadecimal.
    private static uint ParseStatus(AerSeverity severity, string text)
    {
        uint status = 0;
        foreach (var name in text.Split('|'))
        {
            if (AerStatus.BitOf(severity, name) is { } bit) status |= 1u << bit;
            else if (TryParseHex(name, out var rest)) status |= rest;
        }
        return status;
    }

    private static ImmutableArray<uint> ParseHeader(string text)
    {
        if (text is not ['{', .. var dwords, '}']) return [];
        var header = ImmutableArray.CreateBuilder<uint>();
        foreach (var dword in dwords.Split(','))
        {
            if (!TryParseHex(dword, out var value)) return [];
            header.Add(value);
        }
        return header.ToImmutable();
    }

    private static bool TryParseHex(string text, out uint value)
    {
        value = 0;
        return text.StartsWith("0x", StringComparison.Ordinal) && uint.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    [GeneratedRegex(@"aer_event: (?<bdf>\S+) PCIe Bus Error: severity=(?<severity>Corrected|Fatal|Uncorrected, non-fatal), (?<status>.*?), TLP Header=(?<header>\{[^}]*\}|Not available)", RegexOptions.CultureInvariant)]
    private static partial Regex Event();

    [GeneratedRegex(@"^CPU:\d+ \[LOST (\d+) EVENTS\]", RegexOptions.CultureInvariant)]
    private static partial Regex Lost();
}
