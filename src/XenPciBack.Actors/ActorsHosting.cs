using Akka.Actor;
using Akka.Hosting;
using XenPciBack.Host;
using XenPciBack.XenStore;

namespace XenPciBack.Actors;

public static class ActorsHosting
{
    /// <summary>Starts the backend: one supervisor, which finds its guests by itself.</summary>
    /// <param name="standsBy">Another daemon serves the guests: all is made ready that changes nothing, until <see cref="TakeOver"/>.</param>
    public static AkkaConfigurationBuilder AddPciBackend(
        this AkkaConfigurationBuilder akka, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, bool standsBy = false) => akka
        .AddHocon(DataPlane.Configuration, HoconAddMode.Append)
        .WithActors((system, registry) => registry.Register<PciBackend>(StartPciBackend(system, client, host, quarantine, settings, standsBy)));

    /// <summary>The same without a host builder, for tests.</summary>
    /// <param name="name">Of its actor; a system may have several backends, each of a process of its own.</param>
    public static IActorRef StartPciBackend(
        this ActorSystem system, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, bool standsBy = false, string name = "pci-backend") =>
        system.ActorOf(BackendSupervisor.Props(client, host, quarantine, settings, standsBy), name);
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
