using System.CommandLine;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Fuzz;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class FuzzCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var device = new Option<string>("--device") { Description = "a QEMU device name", DefaultValueFactory = _ => "e1000e" };
        var seed = new Option<int>("--seed") { Description = "where the sequence begins; the same seed gives the same requests", DefaultValueFactory = _ => 1 };
        var count = new Option<int>("--ops") { Description = "how many requests in each mode", DefaultValueFactory = _ => 5000 };
        var mode = new Option<string>("--mode") { Description = "all, or some of default, permissive, default-passthrough, permissive-passthrough, separated by commas", DefaultValueFactory = _ => "all" };
        var all = new Option<bool>("--all") { Description = $"print every difference, not the first {Report.Shown} of each kind" };
        var command = new Command("fuzz", """
            Send the same random requests to the kernel's backend and to the daemon, and compare every result, the guest's
            last view of the device and dom0's. A frontend of the lab's own sends them, so that anything can stand in the
            shared page: config accesses of every size and alignment, MSI and MSI-X, power states, unknown opcodes and
            addresses. Differences that are wanted (src/DEVIATIONS.md) are counted by name.
            Exit code 0: no other difference. 1: differences, printed. 2: the comparison could not be made.
            """) { release, device, seed, count, mode, all };
        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            var modes = ParseModes(parsed.GetValue(mode)!);
            LabOptions.Require(wanted);
            var mounts = new Dictionary<string, string> { [DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error) };
            await using var machine = await XenMachine.BootAsync(wanted, [parsed.GetValue(device)!], new MachineOptions { Mounts = mounts, Progress = Console.Error });
            var sections = new List<Section>();
            foreach (var one in modes)
                sections.Add(await BackendFuzz.RunAsync(machine, machine.Devices[0], parsed.GetValue(seed), parsed.GetValue(count), one, Console.Error));
            return Report.Write(sections, Console.Out, parsed.GetValue(all) ? int.MaxValue : Report.Shown) == 0 ? 0 : 1;
        });
        return command;
    }

    private static IReadOnlyList<FuzzMode> ParseModes(string text) => text == "all" ? FuzzMode.All
        : [.. LabOptions.List(text).Select(name => name switch
        {
            "default" => new FuzzMode(Permissive: false, Passthrough: false),
            "permissive" => new FuzzMode(Permissive: true, Passthrough: false),
            "default-passthrough" => new FuzzMode(Permissive: false, Passthrough: true),
            "permissive-passthrough" => new FuzzMode(Permissive: true, Passthrough: true),
            _ => throw new LabException($"--mode {text}: {name} is none of default, permissive, default-passthrough, permissive-passthrough"),
        })];
}
