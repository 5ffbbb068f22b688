using Akka.Actor;
using Akka.Hosting;
using XenPciBack.Host;
using XenPciBack.XenStore;

namespace XenPciBack.Actors;

public static class ActorsHosting
{
    /// <summary>Starts the backend: one supervisor, which finds its guests by itself.</summary>
    public static AkkaConfigurationBuilder AddPciBackend(
        this AkkaConfigurationBuilder akka, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings) => akka
        .AddHocon(DataPlane.Configuration, HoconAddMode.Append)
        .WithActors((system, registry) => registry.Register<PciBackend>(StartPciBackend(system, client, host, quarantine, settings)));

    /// <summary>The same without a host builder, for tests.</summary>
    public static IActorRef StartPciBackend(this ActorSystem system, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings) =>
        system.ActorOf(BackendSupervisor.Props(client, host, quarantine, settings), "pci-backend");
}

/// <summary>The key of the supervisor in the actor registry.</summary>
public sealed class PciBackend;
