using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>On which generations of hypervisor, toolstack and kernel a scenario runs: the first one, so that all scenarios together take less than an hour; every one with LAB_RELEASES=all.</summary>
public static class LabReleases
{
    public static TheoryData<string> Usual => AreAll ? [.. Release.All.Select(release => release.Name)] : [Release.All[0].Name];

    /// <summary>There is time to look at what only the kernel's backend does, too.</summary>
    public static bool AreAll => Environment.GetEnvironmentVariable("LAB_RELEASES") == "all";
}
