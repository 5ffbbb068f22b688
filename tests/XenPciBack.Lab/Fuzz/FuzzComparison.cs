using XenPciBack.Lab.Compare;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Lab.Fuzz;

/// <summary>The same requests under two backends: what differs, and what of it is wanted.</summary>
internal static class FuzzComparison
{
    public static IReadOnlyList<Finding> Compare(IReadOnlyList<FuzzOperation> operations, FuzzRun kernel, FuzzRun daemon, RegisterNames registers)
    {
        var differences = new List<string>();
        var wanted = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach (var (index, operation) in operations.Index())
        {
            var (one, two) = (kernel.Outcomes[index], daemon.Outcomes[index]);
            if (one.Equals(two)) continue;
            if (KnownDeviation.All.FirstOrDefault(deviation => deviation.Explains(operation, one, two)) is { } known)
                wanted[known.Name] = wanted.GetValueOrDefault(known.Name) + 1;
            else
                differences.Add($"{index}: {operation}{Named(operation, registers)}: kernel {one}, daemon {two}");
        }
        return
        [
            new Finding("requests", $"{operations.Count - differences.Count - wanted.Values.Sum()} of {operations.Count} results identical", differences),
            .. wanted.Select(deviation => new Finding("  wanted", $"{deviation.Value} differ: {deviation.Key}", [])),
        ];
    }

    private static string Named(FuzzOperation operation, RegisterNames registers) =>
        operation.Command <= FuzzOperation.Write && registers.NameOf(operation.Offset) is { Length: > 0 } name ? $" ({name})" : "";
}
