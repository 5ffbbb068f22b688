using System.CommandLine;
using System.Diagnostics;
using Akka.Actor;
using Akka.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Serilog;
using XenPciBack.Backend;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Daemon.Composition;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;
using XenPciBack.Daemon.Fleet;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host;
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
            Serve the guests of this Xen host (dom0, as root). While another daemon does, stand by with everything made ready and
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

        var service = Service.OfThisProcess();
        var turn = new Turn(Path.GetDirectoryName(settings.ControlSocket)!);
        var handover = new Handover(() => turn.Next);
        var drain = new Drain(client, host, settings.Backend.Domain, () => turn.Next);
        var serving = turn.TryTake();
        var comes = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var bus = new XenBackendBus();
        if (serving is not null) await TakeBusAsync(bus);
        using var backend = BackendHost.Build(settings, host, client, handover: handover, drain: drain, turn: serving is null ? comes.Task : null);
        await backend.StartAsync(CancellationToken.None);
        var supervisor = await backend.Services.GetRequiredService<IRequiredActor<PciBackend>>().GetAsync(CancellationToken.None);
        using var unwatched = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Exposure? exposure = null;
        var loops = backend.Services.GetRequiredService<EventLoops>();
        var watched = service.WatchAsync(
            () => Task.WhenAll(loops.RoundTripAsync(), supervisor.Ask<ActorIdentity>(new Identify(null))),
            unwatched.Token);
        try
        {
            var standsBy = serving is null;
            serving ??= await StandByAsync(turn, settings, service, stop);
            supervisor.Tell(TakeOver.Instance);
            comes.SetResult();
            if (standsBy) await TakeBusAsync(bus);
            var ready = supervisor.Ask<BackendEvents.Ready>(WhenReady.Instance, stop);
            exposure = Exposure.OfHost(settings, backend.Services, () => ready.IsCompletedSuccessfully);
            await ((Task)ready).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!stop.IsCancellationRequested)
            {
                service.Ready("Serving the guests of this host");
                await Hiding.OnThisHost().AtStartAsync(settings.Hide);
            }
            await Task.WhenAny(handover.WantedAsync(stop), drain.DoneAsync(stop));
            service.Stopping();
            await unwatched.CancelAsync();
            await watched;
            if (turn.Next is null) await bus.GiveBackAsync();
            await LetGoAsync(supervisor, host, settings, serving);
            // The next daemon's turn comes before the rest of this one ends. On any other way out of here the end of the process is what passes it on.
            serving.Dispose();
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // While it stood by.
        }
        if (exposure is not null) await exposure.DisposeAsync();
        await backend.StopAsync(CancellationToken.None);
        Log.Logger.As(LogEvents.Stopped).Information("xenpciback has stopped");
        return drain.IsDone ? ExitCode.Drained : ExitCode.Success;
    }

    private static async Task TakeBusAsync(XenBackendBus bus)
    {
        if (await bus.TakeAsync() is { } fault) Log.Warning("Backends of other kinds than PCI may get no driver: {Fault}", fault);
    }

    /// <summary>Every port is free and every page unmapped, or this process is no more.</summary>
    /// <param name="serving">The lock of the daemon that serves.</param>
    private static async Task LetGoAsync(
        IActorRef supervisor, XenHost host, DaemonSettings settings, IDisposable serving)
    {
        var stopping = supervisor.GracefulStop(StopPatience);
        await ((Task)stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (!stopping.IsCompletedSuccessfully)
        {
            Log.Warning(
                "A device has not answered within {Patience} s; ending at once, so that nothing of this process reaches "
                + "a guest any more", StopPatience.TotalSeconds);
            await Log.CloseAndFlushAsync();
            // The kernel keeps what is open for a thread that is inside a device access. All guests but that device's
            // have been released; the lock would keep the next daemon from serving them until the access returns.
            serving.Dispose();
            Process.GetCurrentProcess().Kill();
        }
        host.Dispose();
        File.Delete(settings.ControlSocket);
    }

    private static async Task<IDisposable> StandByAsync(Turn turn, DaemonSettings settings, Service service, CancellationToken stop)
    {
        // What waits for this service has the one that serves.
        service.Ready($"Getting ready to stand by for process {turn.Serving}");
        Log.Logger.As(LogEvents.PreparingStandby)
            .Information("Process {Process} serves the guests of this host; getting ready to take over from it",
                turn.Serving);
        await Rehearsal.RunAsync(settings, stop);
        var serving = await turn.TakeAsync(onNext: () =>
        {
            Log.Logger.As(LogEvents.Standby).Information("xenpciback stands by for process {Process}", turn.Serving);
            service.Status($"Standing by for process {turn.Serving}");
        }, stop);
        Log.Logger.As(LogEvents.TakingOver)
            .Information("The daemon before this one has released its guests; taking over");
        return serving;
    }
}
