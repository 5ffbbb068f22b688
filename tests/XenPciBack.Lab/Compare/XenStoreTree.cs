using System.Text.RegularExpressions;

namespace XenPciBack.Lab.Compare;

/// <summary>Nodes of xenstore with the guest's domain id written as D, so that two guests' trees can be compared.</summary>
internal static partial class XenStoreTree
{
    /// <param name="listing">What <c>xenstore-ls -fp</c> prints: <c>/path = "value"   (n0,r7)</c>.</param>
    public static SortedDictionary<string, string> Parse(string listing, int domainId)
    {
        var nodes = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in listing.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var node = Node().Match(line);
            if (!node.Success) throw new LabException($"xenstore-ls printed: {line}");
            var path = Normalise(node.Groups["path"].Value, domainId);
            var value = Normalise(node.Groups["value"].Value, domainId);
            if (path.EndsWith("/frontend-id", StringComparison.Ordinal) && value == $"{domainId}") value = "D";
            var permissions = Regex.Replace(node.Groups["permissions"].Value, $@"(?<=[nrwb]){domainId}\b", "D");
            nodes[path] = $"\"{value}\" ({permissions})";
        }
        return nodes;
    }

    private static string Normalise(string text, int domainId) =>
        Regex.Replace(text, $@"(?<=/local/domain/|/backend/pci/){domainId}(?=/|$)", "D");

    [GeneratedRegex("""^(?<path>/\S*) = "(?<value>.*)"\s+\((?<permissions>[^()]*)\)$""", RegexOptions.CultureInvariant)]
    private static partial Regex Node();
}
