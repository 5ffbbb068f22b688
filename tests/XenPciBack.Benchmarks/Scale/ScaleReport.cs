using System.Globalization;
using System.Text;

namespace XenPciBack.Benchmarks.Scale;

/// <summary>
/// The medians of all rounds, each as a ratio to that of the fewest guests, and the ratios of the most guests to ten.
/// </summary>
internal static class ScaleReport
{
    private const int NameWidth = 34, FigureWidth = 11;

    // What many guests are compared with: one guest alone has the machine for itself.
    private const int Few = 10;

    private static readonly (string Name, string Format, Func<ScaleRound, double> Of)[] Figures =
    [
        ("connect, ms a guest", "0.0", round => round.ConnectMs),
        ("memory of the backend, KiB a guest", "0.0", round => round.MemoryKiB),
        ("idle CPU, % of one core", "0.00", round => round.IdlePercent),
        ("all ask at once, operations/s", "0", round => round.OperationsPerSecond),
        ("all ask at once, p50, us", "0.0", round => round.P50Us),
        ("all ask at once, p99, us", "0.0", round => round.P99Us),
        ("xl destroy of one guest, ms", "0.0", round => round.DestroyMs),
    ];

    public static string Of(IEnumerable<ScaleRound> rounds)
    {
        var sizes = rounds.GroupBy(round => round.Guests).OrderBy(size => size.Key).ToArray();
        var report = new StringBuilder();
        AddRow("guests", sizes.Select(size => size.Key.ToString("N0", CultureInfo.InvariantCulture)));
        foreach (var (name, format, of) in Figures)
        {
            var medians = sizes.Select(size => Statistics.Median(size.Select(of))).ToArray();
            AddRow(name, medians.Select(median => median.ToString(format, CultureInfo.InvariantCulture)));
            AddRow($"  ratio to {sizes[0].Key}", medians.Select(median => Ratio(median, medians[0])));
        }
        var (few, many) = (sizes.FirstOrDefault(size => size.Key == Few) ?? sizes[0], sizes[^1]);
        report.AppendLine(CultureInfo.InvariantCulture, $"{many.Key:N0} guests against {few.Key:N0}:");
        AddRatio("connect", round => round.ConnectMs);
        AddRatio("destroy", round => round.DestroyMs);
        AddRatio("throughput", round => round.OperationsPerSecond);
        return report.ToString();

        void AddRow(string name, IEnumerable<string> figures) => report.Append(name.PadRight(NameWidth))
            .AppendJoin("", figures.Select(figure => figure.PadLeft(FigureWidth))).AppendLine();

        void AddRatio(string name, Func<ScaleRound, double> of) => report.AppendLine(
            $"{name} ratio {Ratio(Statistics.Median(many.Select(of)), Statistics.Median(few.Select(of)))}");
    }

    private static string Ratio(double value, double to) => (value / to).ToString("0.00", CultureInfo.InvariantCulture);
}
