using System.Collections.Immutable;
using System.Globalization;

namespace XenPciBack.Protocol.Hiding;

/// <summary>
/// Functions that are hidden from the host's own drivers, as one pair of parentheses of the kernel's option <c>xen-pciback.hide=</c> has
/// them: <c>(DDDD:BB:SS.F)</c>, <c>(DDDD:BB:SS.*)</c>, <c>(DDDD:BB:*.*)</c>, or the same without the segment, which is 0 then.
/// </summary>
/// <param name="Slot">null: all 32.</param>
/// <param name="Function">null: all 8.</param>
/// <remarks>All numbers are hexadecimal: segment to FFFF, bus to FF, slot to 1F, function to 7.</remarks>
public sealed record HidePattern(ushort Segment, byte Bus, byte? Slot, byte? Function)
{
    private const string Option = "xen-pciback.hide";

    /// <summary>A function is meant itself, or through a bridge above it.</summary>
    /// <param name="bridges">The bridges above it.</param>
    public bool Covers(HostBdf function, ImmutableArray<HostBdf> bridges) => Matches(function) || bridges.Any(Matches);

    /// <summary>Parses any number of pairs of parentheses, blanks between them.</summary>
    /// <param name="fault">What is wrong, for an administrator; null if nothing is.</param>
    public static ImmutableArray<HidePattern> Parse(string text, out string? fault)
    {
        fault = null;
        var patterns = ImmutableArray.CreateBuilder<HidePattern>();
        for (var rest = text.Trim(); rest.Length > 0; rest = rest.TrimStart())
        {
            var end = rest.IndexOf(')', StringComparison.Ordinal);
            if (rest[0] != '(' || end < 0 || ParseOne(rest[1..end]) is not { } pattern)
            {
                fault = $"'{(end < 0 ? rest : rest[..(end + 1)])}' is no device to hide; expected (DDDD:BB:SS.F), (BB:SS.F), or * for the function, or for slot and function";
                return [];
            }
            patterns.Add(pattern);
            rest = rest[(end + 1)..];
        }
        return patterns.ToImmutable();
    }

    /// <summary>The option's value on a kernel command line; null if it is not there. The last one counts, and the kernel takes - and _ for the same.</summary>
    public static string? OnCommandLine(string commandLine)
    {
        string? value = null;
        foreach (var word in Words(commandLine))
            if (word.IndexOf('=', StringComparison.Ordinal) is > 0 and var at && word[..at].Replace('_', '-') == Option)
                value = word[(at + 1)..];
        return value;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"({Segment:x4}:{Bus:x2}:{Slot?.ToString("x2", CultureInfo.InvariantCulture) ?? "*"}.{Function?.ToString("x", CultureInfo.InvariantCulture) ?? "*"})");

    private bool Matches(HostBdf bdf) => bdf.Segment == Segment && bdf.Bus == Bus && (Slot is null || Slot == bdf.Slot) && (Function is null || Function == bdf.Function);

    private static HidePattern? ParseOne(string text)
    {
        var parts = text.Split(':');
        if (parts.Length is not (2 or 3) || parts[^1].Split('.') is not [var slotText, var functionText]) return null;
        int segment = 0, slot = 0, function = 0;
        var isPlain = (parts.Length == 2 || BdfRange.Hex(parts[0], 0xFFFF, out segment)) & BdfRange.Hex(parts[^2], 0xFF, out var bus);
        var (allSlots, allFunctions) = (slotText == "*", functionText == "*");
        if (!isPlain || (!allSlots && !BdfRange.Hex(slotText, 0x1F, out slot)) || (!allFunctions && !BdfRange.Hex(functionText, 7, out function)) || (allSlots && !allFunctions)) return null;
        return new HidePattern((ushort)segment, (byte)bus, allSlots ? null : (byte)slot, allFunctions ? null : (byte)function);
    }

    // The kernel keeps blanks inside double quotes together.
    private static IEnumerable<string> Words(string commandLine)
    {
        var word = new System.Text.StringBuilder();
        var isQuoted = false;
        foreach (var c in commandLine)
        {
            if (c == '"') isQuoted = !isQuoted;
            else if (isQuoted || !char.IsWhiteSpace(c)) word.Append(c);
            else
            {
                yield return word.ToString();
                word.Clear();
            }
        }
        yield return word.ToString();
    }
}
