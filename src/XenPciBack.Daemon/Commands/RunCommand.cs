using System.CommandLine;
using Akka.Actor;
using Akka.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Serilog;
using XenPciBack.Actors;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host.Linux;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback run</c>: serves the guests of this host until it is told to stop, or stands by for the daemon that does.</summary>
internal static class RunCommand
{
    // A device that takes longer than this to answer is let go of by the end of the process.
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    public static Command Create()
    {
        var config = new Option<string?>("--config") { Description = $"Settings that override the built-in ones (default: {SettingsReader.DefaultPath} if it exists)", HelpName = "FILE" };
        var command = new Command("run", """
            Serve the guests of this Xen host (dom0, as root). While another daemon does, stand by with everything loaded and
            take its guests over at the moment it ends, or hands over (xenpciback handover).
            """) { config };
        command.SetAction((parse, stop) => RunAsync(parse.GetValue(config), stop));
        return command;
    }

    private static async Task<int> RunAsync(string? config, CancellationToken stop)
    {
        var settings = SettingsReader.Load(config);
        Log.Logger = ConsoleLog.Create(settings.LogLevel);
        using var host = LinuxXenHost.Open();
        await using var client = await XenStoreClient.ConnectAsync(settings.XenStoreEndpoint, settings.XenStore, stop);
        var locks = Path.GetDirectoryName(settings.ControlSocket)!;
        Turn turn;
        try
        {
            turn = await Turn.TakeAsync(locks, prepare: () => Rehearsal.RunAsync(settings, stop), stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            Log.Information("xenpciback has stopped standing by");
            return ExitCode.Success;
        }

        using (turn)
        {
            var handover = new Handover(() => Turn.NextOf(locks));
            using var backend = Backend.Build(settings, host, client, handover: handover);
            await backend.StartAsync(CancellationToken.None);
            await handover.WantedAsync(stop);

            // First what the guests wait for: ports and pages are free, and the next daemon's turn comes before the rest of this one ends.
            var supervisor = await backend.Services.GetRequiredService<IRequiredActor<PciBackend>>().GetAsync(CancellationToken.None);
            await ((Task)supervisor.GracefulStop(StopPatience)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            host.Dispose();
            File.Delete(settings.ControlSocket);
            turn.Dispose();
            handover.IsDone();
            await backend.StopAsync(CancellationToken.None);
        }
        Log.Information("xenpciback has stopped");
        return ExitCode.Success;
    }
}
