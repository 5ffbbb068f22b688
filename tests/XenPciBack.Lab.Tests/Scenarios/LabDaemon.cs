using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>The daemon under test, published once for all scenarios.</summary>
internal static class LabDaemon
{
    private static readonly Lazy<Task<string>> Folder = new(() => Published.DaemonAsync(TextWriter.Null));

    public static async Task<MachineOptions> MountedAsync() =>
        new() { Mounts = new Dictionary<string, string> { [DomainZero.DaemonDirectory] = await Folder.Value } };
}
