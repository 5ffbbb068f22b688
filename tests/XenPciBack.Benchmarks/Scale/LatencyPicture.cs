using System.Globalization;
using System.Text;

namespace XenPciBack.Benchmarks.Scale;

/// <summary>
/// How long requests took, as an SVG: to the right the share of requests that were answered, upwards the time within
/// which they were, both logarithmic. Readable on a light and on a dark screen.
/// </summary>
internal static class LatencyPicture
{
    private const int Width = 960, Height = 560, Left = 90, Right = 150, Top = 70, Bottom = 80;
    private const int PlotWidth = Width - Left - Right, PlotHeight = Height - Top - Bottom;

    // The axis ends where one request in 10,000 takes longer, and a line where so few do that single ones would show.
    private const double Decades = 4;
    private const int FewestRequests = 20, PointsOfLine = 200, HeightOfLabel = 20;

    private static readonly (double Share, string Name)[] Marks =
        [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

    // Also told apart by eyes that see few colours.
    private static readonly (string OnLight, string OnDark)[] Colours =
    [
        ("#0072b2", "#56b4e9"), ("#c04a00", "#ff9d4d"), ("#00795a", "#2fd6a3"), ("#a3457f", "#e79fca"),
        ("#6b5d00", "#e5d04c"),
    ];

    /// <param name="series">The name of each line, and how long its requests took, in microseconds.</param>
    public static string Draw(IEnumerable<(string Name, IReadOnlyList<float> Took)> series)
    {
        var lines = series
            .Select((line, i) => new Line(line.Name, [.. line.Took.Order()], i % Colours.Length)).ToArray();
        var axis = new TimeAxis(lines.Min(line => line.At(0)), lines.Max(line => line.At(line.LastShare)));
        var svg = new StringBuilder();
        Add($$"""
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{Width}} {{Height}}">
            <style>
            text { font: 14px system-ui, sans-serif } .title { font-size: 18px }
            .small { font-size: 11px; paint-order: stroke; stroke: #fff; stroke-width: 3px }
            .middle { text-anchor: middle } .end { text-anchor: end }
            text { fill: #222 } .ground { fill: #fff } .grid { stroke: #ddd } .faint { fill: #666 }
            """);
        AddColours(colour => colour.OnLight);
        Add($$"""
            @media (prefers-color-scheme: dark) {
            text { fill: #e6e6e6 } .ground { fill: #0d1117 } .grid { stroke: #30363d } .faint { fill: #9a9a9a }
            .small { stroke: #0d1117 }
            """);
        AddColours(colour => colour.OnDark);
        Add($$"""
            }
            </style>
            <rect class="ground" width="{{Width}}" height="{{Height}}"/>
            <text x="{{Left}}" y="30" class="title">How long a request takes while all guests ask at once</text>
            <text x="{{Left}}" y="50" class="faint">as the guests see it; both axes logarithmic</text>
            <g class="middle">
            <text x="{{Left + PlotWidth / 2}}" y="{{Height - 20}}">share of requests answered within that time</text>
            <text transform="translate(24 {{Top + PlotHeight / 2}}) rotate(-90)">time of a request</text>
            </g>
            """);
        foreach (var time in axis.Decades)
            Add($"""
                <path class="grid" d="M{Left} {axis.Y(time):0.0}h{PlotWidth}"/>
                <text x="{Left - 8}" y="{axis.Y(time) + 5:0.0}" class="end">{TimeAxis.Text(time)}</text>
                """);
        foreach (var (share, name) in Marks)
            Add($"""
                <path class="grid" d="M{X(share):0.0} {Top}v{PlotHeight}"/>
                <text x="{X(share):0.0}" y="{Top + PlotHeight + 22}" class="middle">{name}</text>
                """);
        foreach (var line in lines)
            Add($"""
                <polyline class="line{line.Colour}" fill="none" stroke-width="2.5" points="{Points(line, axis)}"/>
                """);
        foreach (var line in lines)
            foreach (var (share, _) in Marks.Where(mark => mark.Share <= line.LastShare))
            {
                var (x, y) = (X(share), axis.Y(line.At(share)));
                // Above its dot, or below where the dot of another line is in the way.
                var isBelow = lines.Any(
                    other => other != line && y - axis.Y(other.At(share)) is >= 0 and < HeightOfLabel);
                var (labelX, labelY, side) = isBelow ? (x + 6, y + 14, "start") : (x - 6, y - 7, "end");
                var time = TimeAxis.Text(line.At(share));
                Add($"""
                    <circle class="dot{line.Colour}" cx="{x:0.0}" cy="{y:0.0}" r="4"/>
                    <text class="small {side}" x="{labelX:0.0}" y="{labelY:0.0}">{time}</text>
                    """);
            }
        foreach (var (i, line) in lines.Reverse().Index())
            Add($"""
                <path class="line{line.Colour}" stroke-width="2.5" d="M{Width - Right + 14} {Top + 12 + 24 * i}h24"/>
                <text x="{Width - Right + 46}" y="{Top + 17 + 24 * i}">{line.Name}</text>
                """);
        Add($"</svg>");
        return svg.ToString();

        void Add(FormattableString text) => svg.AppendLine(text.ToString(CultureInfo.InvariantCulture));

        void AddColours(Func<(string OnLight, string OnDark), string> of)
        {
            foreach (var (i, colour) in Colours.Index())
                Add($$""".line{{i}} { stroke: {{of(colour)}} } .dot{{i}} { fill: {{of(colour)}} }""");
        }
    }

    private static double X(double share) => Left + PlotWidth * -Math.Log10(1 - share) / Decades;

    private static string Points(Line line, TimeAxis axis)
    {
        var decades = -Math.Log10(1 - line.LastShare);
        var shares = Enumerable.Range(0, PointsOfLine + 1).Select(i => 1 - Math.Pow(10, -decades * i / PointsOfLine));
        return string.Join(' ', shares.Select(share =>
            string.Create(CultureInfo.InvariantCulture, $"{X(share):0.0},{axis.Y(line.At(share)):0.0}")));
    }

    private sealed record Line(string Name, float[] Sorted, int Colour)
    {
        /// <summary>Where the line ends.</summary>
        public double LastShare { get; } =
            Math.Max(0, 1 - Math.Max(Math.Pow(10, -LatencyPicture.Decades), (double)FewestRequests / Sorted.Length));

        /// <summary>The time within which this share of the requests was answered.</summary>
        public double At(double share) => Statistics.Quantile(Sorted, share);
    }

    /// <summary>Whole decades of microseconds.</summary>
    private sealed class TimeAxis(double shortest, double longest)
    {
        private readonly int _lowest = (int)Math.Floor(Math.Log10(shortest));
        private readonly int _highest = (int)Math.Ceiling(Math.Log10(longest));

        public IEnumerable<double> Decades =>
            Enumerable.Range(_lowest, _highest - _lowest + 1).Select(decade => Math.Pow(10, decade));

        public double Y(double time) => Top + PlotHeight * (1 - (Math.Log10(time) - _lowest) / (_highest - _lowest));

        public static string Text(double time) => time switch
        {
            < 10 => time.ToString("0.#", CultureInfo.InvariantCulture) + " µs",
            < 1e3 => time.ToString("0", CultureInfo.InvariantCulture) + " µs",
            < 1e4 => (time / 1e3).ToString("0.#", CultureInfo.InvariantCulture) + " ms",
            < 1e6 => (time / 1e3).ToString("0", CultureInfo.InvariantCulture) + " ms",
            _ => (time / 1e6).ToString("0.#", CultureInfo.InvariantCulture) + " s",
        };
    }
}
