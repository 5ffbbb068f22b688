using System.Runtime.CompilerServices;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Tests;

/// <summary>A scenario on the real Xen; skipped with one line that says what this machine lacks.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LabFactAttribute : FactAttribute
{
    public LabFactAttribute([CallerMemberName] string test = "") => (Skip, DisplayName) = Lack.Of(test);
}

/// <inheritdoc cref="LabFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LabTheoryAttribute : TheoryAttribute
{
    public LabTheoryAttribute([CallerMemberName] string test = "") => (Skip, DisplayName) = Lack.Of(test);
}

internal static class Lack
{
    private static readonly string? Reason =
        Release.All.Select(Prerequisites.Missing).FirstOrDefault(missing => missing is not null);

    /// <summary>`dotnet test` prints the names of skipped tests and not the reasons, so the name tells the reason.</summary>
    public static (string? Skip, string? DisplayName) Of(string test) => (Reason, Reason is null ? null : $"{test}: {Reason}");
}
