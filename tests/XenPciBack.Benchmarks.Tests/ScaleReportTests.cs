using XenPciBack.Benchmarks.Scale;

namespace XenPciBack.Benchmarks.Tests;

public class ScaleReportTests
{
    private static ScaleRound Round(int guests, double connect, double operations) =>
        new(guests, connect, 1, 1, 0, operations, 1, 1, DestroyMs: connect);

    [Fact]
    public void Bars_are_set_for_the_medians_of_the_most_guests_against_ten()
    {
        var report = ScaleReport.Of([
            Round(1, 30, 100),
            Round(10, 8, 200), Round(10, 10, 200), Round(10, 90, 200),
            Round(1000, 40, 50), Round(1000, 40, 50), Round(1000, 7, 50)]);
        Assert.EndsWith("""
            1,000 guests against 10:
            connect ratio 4.00
            destroy ratio 4.00
            throughput ratio 0.25

            """, report, StringComparison.Ordinal);
    }

    [Fact]
    public void Each_figure_is_compared_with_the_fewest_guests()
    {
        var lines = ScaleReport.Of([Round(1, 30, 100), Round(100, 15, 400)]).Split('\n');
        Assert.Equal(["30.0", "15.0"], Cells(lines[1])[^2..]);
        Assert.Equal(["1.00", "0.50"], Cells(lines[2])[^2..]);
    }

    private static string[] Cells(string line) => line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
