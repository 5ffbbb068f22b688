using XenPciBack.Lab.Images;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace XenPciBack.Lab.Tests;

/// <summary>A scenario on the real Xen. Where it cannot run, <see cref="RealXenLab"/> says why.</summary>
[AttributeUsage(AttributeTargets.Method)]
[XunitTestCaseDiscoverer("XenPciBack.Lab.Tests.LabFactDiscoverer", "XenPciBack.Lab.Tests")]
public sealed class LabFactAttribute : FactAttribute;

/// <inheritdoc cref="LabFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
[XunitTestCaseDiscoverer("XenPciBack.Lab.Tests.LabTheoryDiscoverer", "XenPciBack.Lab.Tests")]
public sealed class LabTheoryAttribute : TheoryAttribute;

/// <inheritdoc/>
public sealed class LabFactDiscoverer(IMessageSink diagnostics) : FactDiscoverer(diagnostics)
{
    /// <inheritdoc/>
    public override IEnumerable<IXunitTestCase> Discover(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo factAttribute) =>
        RealXenLab.Lack is null ? base.Discover(discoveryOptions, testMethod, factAttribute) : [];
}

/// <inheritdoc/>
public sealed class LabTheoryDiscoverer(IMessageSink diagnostics) : TheoryDiscoverer(diagnostics)
{
    /// <inheritdoc/>
    public override IEnumerable<IXunitTestCase> Discover(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute) =>
        RealXenLab.Lack is null ? base.Discover(discoveryOptions, testMethod, theoryAttribute) : [];
}

/// <summary>Whether the scenarios run, in one line.</summary>
public class RealXenLab
{
    /// <summary>Why the scenarios do not run; null: they do.</summary>
    internal static string? Lack { get; } = Environment.GetEnvironmentVariable("LAB_SKIP") == "1"
        ? "the real-Xen lab is left out, because LAB_SKIP is 1"
        : Release.All.Select(Prerequisites.Missing).FirstOrDefault(missing => missing is not null);

    [LackFact]
    public void The_scenarios_run_on_this_machine() => Assert.Null(Lack);

    /// <summary>`dotnet test` prints the names of skipped tests and not the reasons, so the name tells the reason.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class LackFactAttribute : FactAttribute
    {
        public LackFactAttribute() => (Skip, DisplayName) = (Lack, Lack);
    }
}
