using System.CommandLine;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Commands;

internal static class XenStoreTestsCommand
{
    private const string Directory = "/opt/xenstore-tests";

    /// <summary>The server's socket, and the kernel's own connection to the server under its new and its old name.</summary>
    private static readonly string[] Paths = ["/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"];

    public static Command Create()
    {
        var release = LabOptions.Release();
        var command = new Command("xenstore-tests",
            "Run the xenstore client's tests in dom0 against the real xenstored, then in a second boot against oxenstored.") { release };
        command.SetAction(async (parsed, _) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var tests = await Published.XenStoreTestsAsync(Console.Error);
            var failed = false;
            foreach (var server in Enum.GetValues<XenStored>()) failed |= !await RunAsync(wanted, server, tests);
            return failed ? 1 : 0;
        });
        return command;
    }

    private static async Task<bool> RunAsync(Release release, XenStored server, string tests)
    {
        await using var machine = await XenMachine.BootAsync(release, [],
            new MachineOptions { XenStored = server, Mounts = new Dictionary<string, string> { [Directory] = tests }, Progress = Console.Error });
        var passed = true;
        foreach (var path in Paths)
        {
            // Only the contract tests go to the server.
            var result = await machine.DomainZero.TryRunAsync(
                $"cd /tmp && XENSTORED_PATH={path} {Directory}/XenPciBack.XenStore.Tests -class '*ContractTests'", TimeSpan.FromMinutes(15));
            Console.WriteLine($"== {release}, {(server == XenStored.C ? "xenstored" : "oxenstored")} through {path}: exit code {result.ExitCode}");
            Console.WriteLine(LabException.Tail(result.Output, result.ExitCode == 0 ? 6 : 80));
            passed &= result.ExitCode == 0;
        }
        return passed;
    }
}
