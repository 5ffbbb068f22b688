using System.CommandLine;
using System.Globalization;
using XenPciBack.Lab.Bench;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class BenchCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var device = new Option<string>("--device")
        {
            Description = "a QEMU device name",
            DefaultValueFactory = _ => "e1000e",
        };
        var driver = new Option<string>("--driver")
        {
            Description = "the device's driver in the guest",
            DefaultValueFactory = _ => "e1000e",
        };
        var rounds = new Option<int>("--rounds")
        {
            Description = "how many turns each backend has",
            DefaultValueFactory = _ => 3,
        };
        var json = new Option<FileInfo?>("--json") { Description = "a file that gets the values of every round" };
        var check = new Option<bool>("--check")
        {
            Description = "measure the kernel's backend twice; how far the ratios are from 1 is the bench's own error",
        };
        rounds.Validators.Add(given =>
        {
            var number = given.GetValueOrDefault<int>();
            if (number < 1) given.AddError($"--rounds is {number}; expected 1 or more");
        });
        var command = new Command("bench", """
            Compare the daemon's speed with that of the kernel's backend. Both serve a guest in one boot, and the same
            device is attached to the one guest and to the other in turn. Measured are a guest's config reads, first
            with dom0 idle and then with busy loops in dom0, the enumeration of the guest's bus, the load of the
            device's driver, xl create, pci-attach and pci-detach; and what a config read costs the daemon.
            Before the first round each backend serves the device once without a measurement that counts, because the
            daemon's code is cold after its start. The daemon stands still while the kernel's backend has its turn.
            Nothing else should run on the machine meanwhile. With three rounds a run takes some ten minutes.
            """) { release, device, driver, rounds, json, check };
        command.SetAction(async (parsed, cancellation) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var (card, itself) = (parsed.GetValue(device)!, parsed.GetValue(check));
            var (commit, load) = (await CommitAsync(), Load());
            var mounts = new Dictionary<string, string>();
            if (!itself) mounts[DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error);
            await using var machine = await XenMachine.BootAsync(wanted, BackendBench.DevicesFor(card),
                new MachineOptions { Mounts = mounts, Progress = Console.Error });

            var setting = await SettingAsync(machine, card, commit, load);
            var bench = new BackendBench(machine, parsed.GetValue(driver)!, parsed.GetValue(rounds), Console.Error);
            var result = await bench.RunAsync(setting, itself);
            BenchTable.Write(result, Console.Out);
            if (parsed.GetValue(json) is { } file)
                await File.WriteAllTextAsync(file.FullName, result.ToJson(), cancellation);
            return 0;
        });
        return command;
    }

    private static async Task<BenchSetting> SettingAsync(XenMachine machine, string device, string commit, double load)
    {
        var dom0 = machine.DomainZero;
        return new BenchSetting
        {
            Release = machine.Release.Name,
            Xen = (await dom0.RunAsync("xl info xen_version")).Trim(),
            Linux = (await dom0.RunAsync("uname -r")).Trim(),
            Clock = BackendBench.Clock,
            Device = device,
            ReadsPerRound = BackendBench.ReadsPerRound,
            Commit = commit,
            Date = DateTimeOffset.UtcNow,
            Processors = Environment.ProcessorCount,
            Qemu = await QemuVersionAsync(),
            Load = load,
        };
    }

    private static async Task<string> CommitAsync()
    {
        string[] describe = ["-C", AppContext.BaseDirectory, "describe", "--always", "--dirty"];
        return (await ChildProcess.RunAsync("git", describe)).Trim();
    }

    private static async Task<string> QemuVersionAsync()
    {
        // "QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7)"
        var said = await ChildProcess.RunAsync("qemu-system-x86_64", ["--version"]);
        return said.Split(' ', '\n').ElementAtOrDefault(3)
            ?? throw new LabException($"QEMU's version is '{said.Trim()}'");
    }

    /// <summary>The machine's load average over one minute.</summary>
    private static double Load() =>
        double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);
}
