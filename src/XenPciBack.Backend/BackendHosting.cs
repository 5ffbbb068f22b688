using Akka.Actor;
using Akka.Hosting;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Supervision;
using XenPciBack.Host;
using XenPciBack.XenStore;

namespace XenPciBack.Backend;

public static class BackendHosting
{
    /// <summary>Starts the backend: one supervisor, which finds its guests by itself, and beside it <see cref="HostStatusKeeper"/>.</summary>
    /// <param name="loops">Serve the guests. Disposed by the caller once the backend has stopped.</param>
    /// <param name="standsBy">Another daemon serves the guests: all is made ready that changes nothing, until <see cref="TakeOver"/>.</param>
    /// <param name="hostName">How this host is called; null: as it calls itself.</param>
    /// <param name="hasStandby">Whether another daemon stands by for this one; null where none can.</param>
    public static AkkaConfigurationBuilder AddPciBackend(
        this AkkaConfigurationBuilder akka, XenStoreClient client, XenHost host, EventLoops loops,
        Quarantine quarantine, BackendSettings settings, bool standsBy = false, string? hostName = null,
        Func<bool>? hasStandby = null) => akka
        .WithActors((system, registry) =>
        {
            var meters = new BackendMeters(host.Clock) { HasStandby = hasStandby };
            system.RegisterOnTermination(meters.Dispose);
            registry.Register<HostStatusKeeper>(StartHostStatus(system, client, host, quarantine, meters, hostName));
            registry.Register<PciBackend>(
                StartPciBackend(system, client, host, loops, quarantine, settings, standsBy, meters: meters));
        });

    /// <summary>The same without a host builder, for tests.</summary>
    /// <param name="name">Of its actor; a system may have several backends, each of a process of its own.</param>
    /// <param name="meters">What is counted; null: nobody will look.</param>
    public static IActorRef StartPciBackend(
        this ActorSystem system, XenStoreClient client, XenHost host, EventLoops loops, Quarantine quarantine,
        BackendSettings settings, bool standsBy = false, string name = "pci-backend", BackendMeters? meters = null)
    {
        var counted = meters ?? new BackendMeters(host.Clock);
        loops.Serve(system);
        return system.ActorOf(BackendSupervisor.Props(client, host, quarantine, settings, counted, standsBy,
            (directory, lost, errors, standsBy) => GuestActor.Props(
                directory, client, host, loops.Enter(), quarantine, settings, counted.Serve(directory.Guest), lost,
                errors, standsBy)), name);
    }

    /// <summary>Before the backend that it tells of. What is counted can be read from now on.</summary>
    public static IActorRef StartHostStatus(
        this ActorSystem system, XenStoreClient client, XenHost host, Quarantine quarantine, BackendMeters meters, string? hostName = null, string name = "host-status")
    {
        meters.Show();
        meters.Follow(client);
        var props = StatusActor.Props(
            host.Clock, meters, quarantine, hostName ?? Environment.MachineName, host.Hypervisor.Version);
        var status = system.ActorOf(props, name);
        foreach (var happened in StatusActor.Events) system.EventStream.Subscribe(status, happened);
        return status;
    }
}

/// <summary>The key of the supervisor in the actor registry.</summary>
public sealed class PciBackend;

/// <summary>Is answered with <see cref="BackendEvents.Ready"/>, now or when it is so: the guests have been found, or, of a backend that stands by, made ready to be taken over.</summary>
public sealed record WhenReady
{
    public static readonly WhenReady Instance = new();

    private WhenReady() { }
}

/// <summary>To a backend that stands by: whoever served the guests has ended, and it is its turn. Any other ignores it.</summary>
public sealed record TakeOver
{
    public static readonly TakeOver Instance = new();

    private TakeOver() { }
}
