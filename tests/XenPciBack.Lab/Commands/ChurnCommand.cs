using System.CommandLine;
using XenPciBack.Lab.Churn;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class ChurnCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var reloads = new Option<int>("--reloads") { Description = "how often the guest's driver is loaded and unloaded", DefaultValueFactory = _ => 50 };
        var guests = new Option<int>("--guests") { Description = "how many guests are created and destroyed with the driver loaded", DefaultValueFactory = _ => 20 };
        var command = new Command("churn", """
            Load and unload an e1000e's driver in a guest, then create and destroy guests that use it, under the daemon and
            under the kernel's backend. Shown are the interrupts the driver got at each load, and what Xen's and dom0's
            listings of interrupts have more or less at the end.
            Exit code 0: under the daemon MSI-X at every load, and the listings as before. 1: not so.
            """) { release, reloads, guests };
        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var mounts = new Dictionary<string, string> { [DomainZero.DaemonDirectory] = await Published.DaemonAsync(Console.Error) };
            await using var machine = await XenMachine.BootAsync(wanted, ["e1000e"], new MachineOptions { Mounts = mounts, Progress = Console.Error });
            var (dom0, card) = (machine.DomainZero, machine.Devices[0]);
            await dom0.MakeAssignableAsync(card.Bdf);
            var (loads, lives) = (parsed.GetValue(reloads), parsed.GetValue(guests));
            Task<ChurnResult> RunAsync(BackendKind backend) =>
                DriverChurn.RunAsync(dom0, card, backend, loads, lives, Console.Error);
            var daemon = await RunAsync(BackendKind.Daemon);
            Write("daemon", daemon);
            Write("kernel", await RunAsync(BackendKind.Kernel));
            return daemon.Loads.All(kind => kind == "MSI-X") && daemon.LeakedByReloads.Count + daemon.LeakedByGuests.Count == 0 ? 0 : 1;
        });
        return command;
    }

    private static void Write(string backend, ChurnResult result)
    {
        Console.WriteLine(backend);
        Console.WriteLine($"  driver loaded             {result.LoadsInWords}");
        WriteLeaks("after the reloads", result.LeakedByReloads);
        WriteLeaks("after the last guest", result.LeakedByGuests);
    }

    private static void WriteLeaks(string when, IReadOnlyList<string> leaks)
    {
        Console.WriteLine($"  {when,-24}  {(leaks.Count == 0 ? "interrupts of Xen and dom0 as before" : $"{leaks.Count} DIFFERENT")}");
        foreach (var leak in leaks) Console.WriteLine($"      {leak}");
    }
}
