using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Compare;

/// <summary>The whole comparison of assignable devices: a guest under each backend, and what they saw.</summary>
internal static class BackendComparison
{
    public static async Task<IReadOnlyList<Section>> RunAsync(
        DomainZero dom0, IReadOnlyList<QemuDevice> devices, BackendKind first, BackendKind second, bool quick,
        TextWriter progress)
    {
        var observation = new Observation(dom0, devices, quick, progress);
        var one = await observation.RunAsync(first);
        var two = await observation.RunAsync(second);
        return new Comparison(Name(first), one, first == second ? $"{Name(second)} again" : Name(second), two).Sections();
    }

    private static string Name(BackendKind backend) => backend == BackendKind.Kernel ? "kernel" : "daemon";
}
