using System.Collections.Immutable;
using System.Globalization;

namespace XenPciBack.Protocol.Aer;

/// <summary>
/// How many errors of one severity a function has reported since the kernel found it: the text of <c>aer_dev_correctable</c>,
/// <c>aer_dev_nonfatal</c> or <c>aer_dev_fatal</c> in sysfs. One error can set several bits, so the bits add up to more than the total.
/// </summary>
/// <param name="ByBit">32 counters, one for each status bit; 0 for bits that the kernel does not list.</param>
public sealed record AerCounters(long Total, ImmutableArray<long> ByBit)
{
    public static readonly AerCounters None = new(0, [.. new long[32]]);

    /// <summary>Lines "NAME COUNT", the last one "TOTAL_ERR_... COUNT". Names that are not known here count in the total alone.</summary>
    /// <returns>null if there is no total.</returns>
    public static AerCounters? TryParse(AerSeverity severity, string text)
    {
        long? total = null;
        var byBit = new long[32];
        foreach (var line in text.Split('\n'))
        {
            if (line.Split(' ') is not [var name, var number] || !long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var count)) continue;
            if (name.StartsWith("TOTAL_ERR_", StringComparison.Ordinal)) total = count;
            else if (AerStatus.BitOf(severity, name) is { } bit) byBit[bit] = count;
        }
        return total is { } sum ? new AerCounters(sum, [.. byBit]) : null;
    }

    /// <summary>Counts an error that was reported in full.</summary>
    public AerCounters Add(uint status) => new(Total + 1, [.. ByBit.Select((count, bit) => count + (status >> bit & 1))]);

    /// <summary>The bits that have risen since.</summary>
    public uint RisenSince(AerCounters before)
    {
        uint status = 0;
        for (var bit = 0; bit < 32; bit++)
            if (ByBit[bit] > before.ByBit[bit])
                status |= 1u << bit;
        return status;
    }
}
