using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Compare;

/// <summary>The whole comparison on a booted machine: one guest under each backend, and what they saw side by side.</summary>
internal static class BackendComparison
{
    public static async Task<IReadOnlyList<Section>> RunAsync(
        XenMachine machine, Backend first, Backend second, bool quick, TextWriter progress)
    {
        await machine.DomainZero.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
        var observation = new Observation(machine, quick, progress);
        var one = await observation.RunAsync(first);
        var two = await observation.RunAsync(second);
        return new Comparison(Name(first), one, first == second ? $"{Name(second)} again" : Name(second), two).Sections();
    }

    private static string Name(Backend backend) => backend == Backend.Kernel ? "kernel" : "daemon";
}
