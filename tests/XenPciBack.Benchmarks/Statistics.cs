namespace XenPciBack.Benchmarks;

internal static class Statistics
{
    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted[sorted.Length / 2];
    }

    /// <param name="sorted">In rising order, and at least one.</param>
    /// <param name="quantile">0 (the smallest) to 1 (the largest).</param>
    public static T Quantile<T>(IReadOnlyList<T> sorted, double quantile) =>
        sorted[(int)(quantile * (sorted.Count - 1))];
}
