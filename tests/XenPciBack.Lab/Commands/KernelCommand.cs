using System.CommandLine;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class KernelCommand
{
    private const string KernelDirectory = "/opt/guest-kernel";

    public static Command Create()
    {
        var release = LabOptions.Release();
        var devices = LabOptions.Devices();
        var file = new Argument<string>("FILE") { Description = "a kernel that Xen can start as a PV guest, such as Mini-OS with its PCI frontend; Debian's Xen takes 64-bit ones only" };
        var extra = new Option<string>("--extra") { Description = "its command line", DefaultValueFactory = _ => "" };
        var command = new Command("kernel", """
            Run a kernel of your own with all the devices, under the kernel's backend and then under the daemon, and compare
            what it writes to its console. It gets 64 MiB and has to switch itself off; who is not off after two minutes is
            destroyed.
            Exit code 0: the same lines. 1: not so; printed.
            """) { file, release, devices, extra };
        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var kernel = Path.GetFullPath(parsed.GetValue(file)!);
            if (!File.Exists(kernel)) throw new LabException($"{kernel}: there is no such file");
            var mounts = new Dictionary<string, string>
            {
                [DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error),
                [KernelDirectory] = Path.GetDirectoryName(kernel)!,
            };
            await using var machine = await XenMachine.BootAsync(wanted, LabOptions.List(parsed.GetValue(devices)!), new MachineOptions { Mounts = mounts, Progress = Console.Error });
            await machine.DomainZero.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));
            var consoles = new List<string[]>();
            foreach (var backend in (BackendKind[])[BackendKind.Kernel, BackendKind.Daemon])
            {
                var console = await RunAsync(machine, backend, $"{KernelDirectory}/{Path.GetFileName(kernel)}", parsed.GetValue(extra)!);
                Console.WriteLine($"-- under the {backend}'s backend\n{console}");
                consoles.Add(console.Split('\n'));
            }
            Console.WriteLine(await machine.DomainZero.DaemonLogAsync());
            var differences = consoles[0].Except(consoles[1]).Select(line => $"kernel: {line}").Concat(consoles[1].Except(consoles[0]).Select(line => $"daemon: {line}")).ToList();
            return Report.Write([new Section("console", [new Finding("lines", $"{consoles[0].Length} and {consoles[1].Length}", differences)])], Console.Out) == 0 ? 0 : 1;
        });
        return command;
    }

    /// <returns>What the guest wrote to its console until it was gone.</returns>
    private static async Task<string> RunAsync(XenMachine machine, BackendKind backend, string kernel, string extra)
    {
        var dom0 = machine.DomainZero;
        await dom0.UseAsync(backend);
        await dom0.RunAsync($"""
            cat > /run/kernel.cfg << 'END'
            type = "pv"
            name = "kernel"
            kernel = "{kernel}"
            memory = 64
            vcpus = 1
            extra = "{extra}"
            pci = [{string.Join(", ", machine.Devices.Select(device => $"\"{device.Bdf}\""))}]
            on_crash = "destroy"
            END
            rm -f /var/log/xen/guest-kernel.log
            xl create /run/kernel.cfg
            """);
        var domainId = (await dom0.RunAsync("xl domid kernel")).Trim();
        await dom0.RunAsync("SECONDS=0; while xl domid kernel > /dev/null 2>&1; do [ $SECONDS -lt 120 ] || xl destroy kernel; sleep 0.5; done", TimeSpan.FromMinutes(5));
        // Each run has a domain of its own.
        return (await dom0.RunAsync("cat /var/log/xen/guest-kernel.log")).ReplaceLineEndings("\n")
            .Replace($"/domain/{domainId}/", "/domain/DOMID/", StringComparison.Ordinal).Replace($"/pci/{domainId}/", "/pci/DOMID/", StringComparison.Ordinal);
    }
}
