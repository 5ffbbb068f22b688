using System.CommandLine;
using Microsoft.Extensions.Hosting;
using Serilog;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host.Linux;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback run</c>: serves the guests of this host until it is told to stop.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var config = new Option<string?>("--config") { Description = $"Settings that override the built-in ones (default: {SettingsReader.DefaultPath} if it exists)", HelpName = "FILE" };
        var command = new Command("run", "Serve the guests of this Xen host (dom0, as root)") { config };
        command.SetAction((parse, stop) => RunAsync(parse.GetValue(config), stop));
        return command;
    }

    private static async Task<int> RunAsync(string? config, CancellationToken stop)
    {
        var settings = SettingsReader.Load(config);
        Log.Logger = ConsoleLog.Create(settings.LogLevel);
        using var host = LinuxXenHost.Open();
        await using var client = await XenStoreClient.ConnectAsync(settings.XenStoreEndpoint, settings.XenStore, stop);
        using var backend = Backend.Build(settings, host, client);
        await backend.RunAsync(stop);
        Log.Information("xenpciback has stopped");
        return ExitCode.Success;
    }
}
