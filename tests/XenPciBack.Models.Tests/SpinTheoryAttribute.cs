using System.Runtime.CompilerServices;

namespace XenPciBack.Models.Tests;

/// <summary>A search of models by spin; skipped with one line that says what this machine lacks.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class SpinTheoryAttribute : TheoryAttribute
{
    private static readonly (string File, string Package)[] Needed =
        [("spin", "spin"), ("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev")];

    /// <remarks>`dotnet test` prints the names of skipped tests, not the reasons: the name tells the reason.</remarks>
    public SpinTheoryAttribute([CallerMemberName] string test = "")
    {
        var missing = Needed.Where(tool => !Exists(tool.File)).Select(tool => $"{tool.File} (package {tool.Package})");
        Skip = string.Join(", ", missing) is { Length: > 0 } all ? $"the search of models lacks {all}" : null;
        if (Skip is not null) DisplayName = $"{test}: {Skip}";
    }

    // Path.Combine keeps an absolute name as it is.
    private static bool Exists(string file) =>
        $"{Environment.GetEnvironmentVariable("PATH")}".Split(':')
            .Any(folder => File.Exists(Path.Combine(folder, file)));
}
