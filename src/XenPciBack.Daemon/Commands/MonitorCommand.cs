using System.CommandLine;
using Serilog;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Fleet;
using XenPciBack.Daemon.Logging;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback monitor</c>: shows what the hosts of a fleet report. It serves no guest and needs no Xen.</summary>
internal static class MonitorCommand
{
    public static Command Create()
    {
        var config = ControlOptions.Config();
        config.Description = $"Settings that override the built-in ones (default: {SettingsReader.DefaultPath} if it exists)";
        var parent = ChildProcesses.EndsWithParent();
        var command = new Command("monitor", "Show the guests, devices and incidents of every host of the fleet, on any machine") { config, parent };
        command.SetAction(async (parse, stop) =>
        {
            using var end = ChildProcesses.EndOf(parse.GetValue(parent), stop);
            return await RunAsync(SettingsReader.Load(parse.GetValue(config)), end.Token);
        });
        return command;
    }

    private static async Task<int> RunAsync(DaemonSettings settings, CancellationToken stop)
    {
        Log.Logger = ConsoleLog.Create(settings.LogLevel);
        var service = Service.OfThisProcess();
        await using var exposure = await Exposure.OfMonitorAsync(settings);
        Console.WriteLine($"The dashboard: {exposure.Address ?? "nowhere, because web.listen is empty"}");
        service.Ready("Showing the fleet");
        await ((Task)Task.Delay(Timeout.Infinite, stop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        service.Stopping();
        return ExitCode.Success;
    }
}
