using System.Reflection;
using Akka.Actor;
using XenPciBack.Backend.Errors;

namespace XenPciBack.Backend.Status;

/// <summary>
/// Listens to what the backend tells and keeps its status and incidents, far from the data plane. Its books are not its own: they outlive a failure of it.
/// </summary>
internal sealed class StatusActor : ReceiveActor, IWithTimers
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    /// <summary>What it has to be subscribed to before the backend starts, whose first words it must not miss.</summary>
    public static readonly Type[] Events =
    [
        typeof(BackendEvents.Ready), typeof(BackendEvents.GuestChanged), typeof(BackendEvents.GuestGone),
        typeof(BackendEvents.DeviceError),
        typeof(BackendEvents.DeviceSlow), typeof(BackendEvents.DeviceRecovered),
        typeof(BackendEvents.GuestKilled), typeof(BackendEvents.DeviceQuarantined), typeof(BackendEvents.ActorReplaced), typeof(BackendEvents.GuestAbandoned),
        typeof(BackendEvents.GuestMisbehaved), typeof(IActorTelemetryEvent),
    ];

    private readonly TimeProvider _clock;
    private readonly BackendMeters _meters;
    private readonly Quarantine _quarantine;
    private readonly StatusBook _status;
    private readonly IncidentBook _incidents;
    private bool _readsQuarantine;

    // When the quarantine's record was read: by its own changes, and by the times the backend has begun; until its turn another process changes the record.
    private (long Changes, int Beginnings)? _quarantineReadAt;
    private int _beginnings;

    private sealed record Tick
    {
        public static readonly Tick Instance = new();
    }

    /// <param name="Devices">null: the record could not be read.</param>
    private sealed record QuarantineRead((long Changes, int Beginnings) At, IReadOnlyList<QuarantinedDevice>? Devices);

    public StatusActor(
        TimeProvider clock, BackendMeters meters, Quarantine quarantine, StatusBook status, IncidentBook incidents)
    {
        (_clock, _meters, _quarantine, _status, _incidents) = (clock, meters, quarantine, status, incidents);
        Receive<Tick>(_ => OnTick());
        Receive<GetStatus>(_ => Sender.Tell(_status.Write(Now)));
        Receive<GetIncidents>(get => Sender.Tell(new Incidents(_incidents.After(get.After))));
        Receive<GetConfigView>(OnGetConfigView);
        Receive<QuarantineRead>(OnQuarantineRead);
        Receive<BackendEvents.Ready>(_ => OnReady());
        Receive<BackendEvents.GuestChanged>(OnGuestChanged);
        Receive<BackendEvents.GuestGone>(gone => _status.Forget(gone.Guest));
        Receive<IActorTelemetryEvent>(OnTelemetry);
        ReceiveAny(OnHappened);
    }

    public ITimerScheduler Timers { get; set; } = null!;

    private DateTimeOffset Now => _clock.GetUtcNow();

    /// <param name="hostName">How the host is called.</param>
    /// <param name="xen">The hypervisor's version.</param>
    public static Props Props(
        TimeProvider clock, BackendMeters meters, Quarantine quarantine, string hostName, string xen)
    {
        var version = typeof(StatusActor).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];
        var (status, incidents) = (new StatusBook(meters, hostName, version, xen, clock.GetUtcNow()), new IncidentBook());
        return Akka.Actor.Props.Create(() => new StatusActor(clock, meters, quarantine, status, incidents));
    }

    protected override void PreStart()
    {
        OnTick();
        Timers.StartPeriodicTimer(nameof(Tick), Tick.Instance, Period);
    }

    private void OnTick()
    {
        Context.System.EventStream.Publish(_status.Write(Now));
        _status.TakeSamples(Now);
        var at = (_quarantine.Changes, _beginnings);
        if (_readsQuarantine || at == _quarantineReadAt) return;
        _readsQuarantine = true;
        // It is on a disk, which may take its time.
        Task.Run(() => _quarantine.Devices).PipeTo(Self, success: devices => new QuarantineRead(at, devices), failure: _ => new QuarantineRead(at, null));
    }

    private void OnQuarantineRead(QuarantineRead read)
    {
        _readsQuarantine = false;
        if (read.Devices is null) return;
        _quarantineReadAt = read.At;
        _status.Quarantine = [.. read.Devices];
        _meters.Quarantined = read.Devices.Count;
    }

    private void OnReady()
    {
        _status.Begin(Now);
        _beginnings++;
    }

    private void OnGuestChanged(BackendEvents.GuestChanged changed)
    {
        if (!_status.Change(changed) || !changed.IsOld) return;
        _meters.Adopted();
        OnHappened(new IncidentBook.GuestAdopted(changed));
    }

    private void OnHappened(object happened)
    {
        switch (happened)
        {
            case BackendEvents.DeviceError(var error):
                _meters.Met(error);
                break;
            case BackendEvents.GuestKilled { Fault: null }:
                _meters.Killed();
                break;
            case BackendEvents.ActorReplaced replaced:
                _meters.Restarted(replaced.Actor);
                break;
            case BackendEvents.GuestMisbehaved:
                _meters.Misbehaved();
                break;
        }
        if (_incidents.Add(happened, Now) is { } incident) Context.System.EventStream.Publish(incident);
    }

    private void OnTelemetry(IActorTelemetryEvent happened)
    {
        if (happened.ActorType.Assembly != typeof(StatusActor).Assembly) return;
        switch (happened)
        {
            case ActorStarted:
                _meters.Started(happened.ActorType.Name);
                break;
            case ActorStopped:
                _meters.Stopped(happened.ActorType.Name);
                break;
            case ActorRestarted:
                _meters.Restarted(happened.ActorType.Name);
                break;
        }
    }

    private void OnGetConfigView(GetConfigView get)
    {
        if (_meters.Find(get.Domain) is not { } guest) Sender.Tell(new NoConfigView($"guest {get.Domain} is not served here"));
        else if (guest.Find(get.Device) is not { } device) Sender.Tell(new NoConfigView($"guest {get.Domain} has no device {get.Device}"));
        else device.Actor.Forward(get);
    }
}
