using Akka.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Serilog;
using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Composition;

/// <summary>The composition root: the same backend on a real host and on the embedded one.</summary>
internal static class BackendHost
{
    /// <param name="faults">Null on a real host.</param>
    /// <param name="handover">Null where no other daemon can take over.</param>
    /// <param name="drain">Null where there is no toolstack of the host's.</param>
    /// <param name="turn">Done when this daemon serves the guests; null: from the start.</param>
    public static IHost Build(DaemonSettings settings, XenHost host, XenStoreClient client, FaultInjector? faults = null, Handover? handover = null, Drain? drain = null, Task? turn = null)
    {
        var quarantine = new Quarantine(host.LastingRecords);
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(null);
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<IHostLifetime, CommandLifetime>();
        builder.Services.AddSingleton(_ => EventLoops.Of(host, settings.Backend));
        builder.Services.AddAkka("xenpciback", (akka, services) => akka
            .ConfigureLoggers(loggers =>
            {
                loggers.LogLevel = settings.LogLevel < LogEventLevel.Information ? Akka.Event.LogLevel.DebugLevel : Akka.Event.LogLevel.InfoLevel;
                loggers.ClearLoggers();
                loggers.AddLogger<SerilogAkkaLogger>();
            })
            .AddPciBackend(client, host, services.GetRequiredService<EventLoops>(), quarantine, settings.Backend,
                standsBy: turn is not null, hostName: settings.Fleet.Name,
                hasStandby: handover is null ? null : () => handover.Next is not null)
            .AddHocon(settings.Akka, HoconAddMode.Prepend));
        builder.Services.AddHostedService(services => new ControlServer(settings.ControlSocket, client, quarantine, faults, handover, drain, turn ?? Task.CompletedTask, services.GetRequiredService<IRequiredActor<PciBackend>>(),
            services.GetRequiredService<IRequiredActor<HostStatusKeeper>>()));
        client.ConnectionLost += cause => Log.Logger.As(LogEvents.XenStoreLost)
            .Warning("xenstored is away: {Cause}", cause?.Message ?? "it has closed the connection");
        client.Reconnected += () => Log.Logger.As(LogEvents.XenStoreBack)
            .Information("xenstored is back; everything is read again");
        return builder.Build();
    }

    /// <summary>Signals reach a command through its cancellation token; the host must not stop the backend behind its back.</summary>
    private sealed class CommandLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
