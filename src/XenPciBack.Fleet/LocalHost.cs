using Akka.Actor;
using XenPciBack.Backend.Status;

namespace XenPciBack.Fleet;

/// <summary>The host of this daemon, as it is shown by its own web view and reported to monitors.</summary>
/// <param name="name">As its status has it.</param>
/// <param name="daemon">When this daemon has started: its incidents are told from those of the one before by it.</param>
/// <param name="configViews">Of the devices of its guests.</param>
public sealed class LocalHost(string name, DateTimeOffset daemon, ConfigViewSource configViews) : IDisposable
{
    private static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(5);

    private Action _unfollow = () => { };

    public string Name { get; } = name;

    public DateTimeOffset Daemon { get; } = daemon;

    public ConfigViewSource ConfigViews { get; } = configViews;

    /// <summary>With this host and no other.</summary>
    public FleetBoard Board { get; } = new();

    /// <summary>Follows what the backend says of its host, until it is disposed.</summary>
    /// <param name="backend">The backend's actor system.</param>
    /// <param name="keeper">Registered there as <see cref="HostStatusKeeper"/>.</param>
    public static LocalHost Of(string name, ActorSystem backend, IActorRef keeper)
    {
        var host = new LocalHost(name, TimeProvider.System.GetUtcNow(), async (of, guest, device, stop) =>
            of == name && await keeper.Ask<object>(new GetConfigView(guest, device), AnswerPatience, stop).ConfigureAwait(false) is ConfigView view ? view : null);
        var listener = backend.ActorOf(Props.Create(() => new Listener(host, keeper)));
        host._unfollow = () => backend.Stop(listener);
        return host;
    }

    public void Dispose() => _unfollow();

    private sealed class Listener : ReceiveActor
    {
        private readonly IActorRef _keeper;

        public Listener(LocalHost host, IActorRef keeper)
        {
            _keeper = keeper;
            Receive<HostStatus>(status => host.Board.Update(state => state.WithStatus(status, status.At)));
            Receive<Incident>(incident => host.Tell(incident));
            Receive<Incidents>(earlier =>
            {
                foreach (var incident in earlier.Latest) host.Tell(incident);
            });
        }

        protected override void PreStart()
        {
            Context.System.EventStream.Subscribe(Self, typeof(HostStatus));
            Context.System.EventStream.Subscribe(Self, typeof(Incident));
            // What was told before; what comes twice counts once.
            _keeper.Tell(GetStatus.Instance);
            _keeper.Tell(new GetIncidents(After: 0));
        }
    }

    private void Tell(Incident incident) => Board.Update(state => state.WithIncident(new HostIncident(Name, Daemon, incident), incident.At));
}
