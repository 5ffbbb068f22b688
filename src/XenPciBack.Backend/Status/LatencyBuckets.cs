using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Numerics;

namespace XenPciBack.Backend.Status;

/// <summary>
/// How often something took how long: 1 µs and less, then four buckets for each doubling, up to 16 s and more. One thread writes at a time;
/// others read whenever they like, and may miss what is being counted.
/// </summary>
internal sealed class LatencyBuckets
{
    private const int Doublings = 24, PerDoubling = 4;
    public const int Count = 1 + Doublings * PerDoubling;

    // A quarter of a microsecond: the first doubling has four whole ones.
    private static readonly long TicksPerQuarter = Math.Max(1, Stopwatch.Frequency / 4_000_000);

    private readonly long[] _counts = new long[Count], _told = new long[Count];

    /// <param name="ticks">Of <see cref="Stopwatch"/>.</param>
    public void Add(long ticks) => _counts[IndexOf(ticks / TicksPerQuarter)]++;

    public long this[int bucket] => Volatile.Read(ref _counts[bucket]);

    /// <summary>Puts what is new since the last call into a histogram, each count as a measurement from the middle of its bucket. One caller at a time.</summary>
    public void Tell(Histogram<double> histogram, params ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        for (var i = 0; i < Count; i++)
        {
            var middle = (LowerBound(i) + UpperBound(i)) / 2e6;
            for (var now = this[i]; _told[i] < now; _told[i]++) histogram.Record(middle, tags);
        }
    }

    /// <summary>Microseconds; the next one's lower bound.</summary>
    public static double UpperBound(int bucket) => (1 + bucket % PerDoubling / (double)PerDoubling) * (1L << (bucket / PerDoubling));

    /// <summary>Microseconds.</summary>
    public static double LowerBound(int bucket) => bucket == 0 ? 0 : UpperBound(bucket - 1);

    private static int IndexOf(long quarters)
    {
        if (quarters < PerDoubling) return 0;
        var doubling = BitOperations.Log2((ulong)quarters) - 2;
        return Math.Min(Count - 1, 1 + doubling * PerDoubling + (int)(quarters >> doubling) - PerDoubling);
    }
}

/// <summary>The counts of several <see cref="LatencyBuckets"/> at one moment.</summary>
internal sealed class LatencySnapshot
{
    private readonly long[] _counts = new long[LatencyBuckets.Count];

    public static readonly LatencySnapshot Empty = new([]);

    public LatencySnapshot(IEnumerable<LatencyBuckets> buckets)
    {
        foreach (var from in buckets)
            for (var i = 0; i < _counts.Length; i++) _counts[i] += from[i];
    }

    /// <summary>What was counted since an earlier snapshot; null if nothing was.</summary>
    public LatencyStatus? Since(LatencySnapshot before)
    {
        var counts = new long[_counts.Length];
        for (var i = 0; i < counts.Length; i++) counts[i] = Math.Max(0, _counts[i] - before._counts[i]);
        var total = counts.Sum();
        return total == 0 ? null : new LatencyStatus(Quantile(counts, total, 0.5), Quantile(counts, total, 0.99), LatencyBuckets.UpperBound(Array.FindLastIndex(counts, count => count > 0)));
    }

    /// <summary>As far into the bucket as there are counts in it before the one that is looked for.</summary>
    private static double Quantile(long[] counts, long total, double quantile)
    {
        var left = quantile * total;
        for (var i = 0; ; left -= counts[i++])
        {
            if (left > counts[i]) continue;
            var (lower, upper) = (LatencyBuckets.LowerBound(i), LatencyBuckets.UpperBound(i));
            return lower + (upper - lower) * left / counts[i];
        }
    }
}
