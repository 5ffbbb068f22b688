namespace XenPciBack.Lab.Compare;

/// <summary>Prints findings: one aligned line where all is equal, the differences below where not.</summary>
internal static class Report
{
    /// <summary>How many differences of one finding a person wants to see; the rest is counted.</summary>
    public const int Shown = 40;

    /// <returns>The number of differences.</returns>
    public static int Write(IReadOnlyList<Section> sections, TextWriter output, int shown = Shown)
    {
        var width = sections.SelectMany(section => section.Findings).Max(finding => finding.Subject.Length);
        foreach (var section in sections)
        {
            output.WriteLine(section.Title);
            foreach (var finding in section.Findings) WriteFinding(finding, width, output, shown);
            output.WriteLine();
        }
        var differences = sections.SelectMany(section => section.Findings).Sum(finding => finding.Differences.Count);
        output.WriteLine(differences == 0 ? "No difference." : $"{differences} differences.");
        return differences;
    }

    private static void WriteFinding(Finding finding, int width, TextWriter output, int shown)
    {
        var subject = finding.Subject.PadRight(width);
        if (finding.Differences.Count == 0)
        {
            output.WriteLine($"  {subject}  {finding.Agreement}");
            return;
        }
        output.WriteLine($"  {subject}  {finding.Differences.Count} DIFFERENT ({finding.Agreement})");
        foreach (var difference in finding.Differences.Take(shown)) output.WriteLine($"      {difference}");
        if (finding.Differences.Count > shown) output.WriteLine($"      and {finding.Differences.Count - shown} more (--all shows them)");
    }
}
