using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Backend;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Simulation;

namespace XenPciBack.Daemon.Demo;

/// <summary>One guest as the demo's table shows it.</summary>
/// <param name="Backend">The backend's state of the connection.</param>
/// <param name="Given">Devices the backend has exported.</param>
/// <param name="Found">Devices the guest has found on its virtual bus.</param>
/// <param name="Requests">Requests of the guest that were answered.</param>
internal sealed record GuestRow(DomainId Id, string Name, XenbusState Backend, XenbusState Frontend, int Given, int Found, int Requests);

/// <summary>What is known of the guests: the backend's side from its events, the guest's side from its frontend. Thread-safe.</summary>
internal sealed class DemoBoard(SimulatedXenHost host)
{
    private ImmutableDictionary<DomainId, BackendEvents.GuestChanged> _backend = ImmutableDictionary<DomainId, BackendEvents.GuestChanged>.Empty;

    public ImmutableArray<GuestRow> Rows => [.. host.Guests.Select(RowOf)];

    /// <summary>Listens to the backend's events from now on.</summary>
    public void Follow(ActorSystem system) => system.EventStream.Subscribe(system.ActorOf(Props.Create(() => new Listener(this)), "demo-board"), typeof(BackendEvents.GuestChanged));

    private GuestRow RowOf(SimulatedGuest guest)
    {
        var backend = _backend.GetValueOrDefault(guest.Id);
        return new GuestRow(guest.Id, guest.Name, backend?.State ?? XenbusState.Unknown, (XenbusState)guest.Frontend.State, backend?.Devices.Length ?? 0, guest.Frontend.Devices.Length, guest.Frontend.AnsweredRequests);
    }

    private sealed class Listener : ReceiveActor
    {
        public Listener(DemoBoard board) =>
            Receive<BackendEvents.GuestChanged>(changed => ImmutableInterlocked.AddOrUpdate(ref board._backend, changed.Guest, changed, (_, _) => changed));
    }
}
