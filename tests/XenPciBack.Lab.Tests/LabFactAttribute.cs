using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Tests;

/// <summary>A scenario on the real Xen; skipped with one line that says what this machine lacks.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LabFactAttribute : FactAttribute
{
    public LabFactAttribute() => Skip = LabTheoryAttribute.Reason;
}

/// <inheritdoc cref="LabFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LabTheoryAttribute : TheoryAttribute
{
    public LabTheoryAttribute() => Skip = Reason;

    internal static string? Reason { get; } =
        Release.All.Select(Prerequisites.Missing).FirstOrDefault(missing => missing is not null);
}
