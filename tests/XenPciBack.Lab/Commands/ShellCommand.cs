using System.CommandLine;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class ShellCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var devices = LabOptions.Devices();
        var backend = new Option<BackendKind>("--backend")
        {
            Description = "who serves the guests: the daemon, started for you, or the kernel",
            DefaultValueFactory = _ => BackendKind.Daemon,
        };
        var command = new Command("shell", """
            Be root in dom0. The devices are assignable, the backend is in place, /run/pv1.cfg is a guest that has
            them all: try `xl create /run/pv1.cfg -c`. Leaving the shell switches the machine off.
            """) { release, devices, backend };
        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var serving = parsed.GetValue(backend);
            var mounts = new Dictionary<string, string>();
            if (serving == BackendKind.Daemon) mounts[DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error);
            await using var machine = await XenMachine.BootAsync(wanted, LabOptions.List(parsed.GetValue(devices)!),
                new MachineOptions { Mounts = mounts, Terminal = Terminal.Size, Progress = Console.Error });

            await machine.DomainZero.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
            await machine.DomainZero.UseAsync(serving);
            await machine.DomainZero.RunAsync(Guest.WriteConfiguration("pv1", [.. machine.Devices.Select(device => device.Bdf)], new GuestOptions { Interactive = true }));
            await machine.DomainZero.RunAsync("touch /run/lab-terminal");
            await Terminal.JoinAsync(await machine.OpenTerminalAsync());
            return 0;
        });
        return command;
    }
}
