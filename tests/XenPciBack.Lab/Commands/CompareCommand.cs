using System.CommandLine;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class CompareCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var devices = LabOptions.Devices();
        var backends = new Option<string>("--backends")
        {
            Description = "the two to compare, each kernel or daemon; kernel,kernel is the lab's check of itself",
            DefaultValueFactory = _ => "kernel,daemon",
        };
        var quick = new Option<bool>("--quick") { Description = "compare dumps and xenstore only, without the read and write sweeps" };
        var all = new Option<bool>("--all") { Description = $"print every difference, not the first {Report.Shown} of each kind" };

        var command = new Command("compare", """
            Show that two backends give a guest the same devices. In one boot, a guest with all the devices runs under
            the first backend, then one under the second; compared are the guest's config space (dump, lspci, every
            read, every write with its read-back), dom0's view of each device, and the nodes in xenstore.
            Exit code 0: no difference. 1: differences, printed. 2: the comparison could not be made.
            """) { release, devices, backends, quick, all };

        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            var pair = ParseBackends(parsed.GetValue(backends)!);
            LabOptions.Require(wanted);

            var mounts = new Dictionary<string, string>();
            if (pair.Contains(BackendKind.Daemon)) mounts[DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error);
            await using var machine = await XenMachine.BootAsync(wanted, LabOptions.List(parsed.GetValue(devices)!),
                new MachineOptions { Mounts = mounts, Progress = Console.Error });
            await machine.DomainZero.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
            var sections = await BackendComparison.RunAsync(
                machine.DomainZero, machine.Devices, pair[0], pair[1], parsed.GetValue(quick), Console.Error);
            return Report.Write(sections, Console.Out, parsed.GetValue(all) ? int.MaxValue : Report.Shown) == 0 ? 0 : 1;
        });
        return command;
    }

    private static BackendKind[] ParseBackends(string text)
    {
        var names = LabOptions.List(text);
        var backends = names.SelectMany(name => Enum.TryParse<BackendKind>(name, ignoreCase: true, out var backend) ? [backend] : Array.Empty<BackendKind>()).ToArray();
        return names.Length == 2 && backends.Length == 2 ? backends
            : throw new LabException($"--backends {text}: two of kernel and daemon, separated by a comma");
    }
}
