using System.Collections.Immutable;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Tracing;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Supervision;

/// <summary>Watches <c>backend/pci</c> and keeps one <see cref="GuestActor"/> for each connection directory in it.</summary>
internal sealed partial class BackendSupervisor : ReceiveActor, IWithTimers
{
    private readonly XenStoreClient _client;
    private readonly XenHost _host;
    private readonly Quarantine _quarantine;
    private readonly BackendSettings _settings;
    private readonly BackendMeters _meters;
    private readonly ConnectionDirectories _directories;
    private readonly ILoggingAdapter _log = Context.GetLogger();
    private readonly GuestProps _guestProps;
    private readonly Dictionary<BackendDirectory, IActorRef> _guests = [];

    // Directories that are the kernel's, or whose actor failed: not touched until the toolstack has removed them.
    private readonly HashSet<BackendDirectory> _leftAlone = [];

    private readonly List<IActorRef> _awaitReady = [];

    private ImmutableArray<TraceSink> _sinks = [];
    private bool _reading;
    private bool _again;
    private bool _domainReleased = true;
    private bool _ready;

    // Another daemon serves the guests.
    private bool _standsBy;

    private sealed record Changed
    {
        public static readonly Changed Instance = new();
    }

    private sealed record DomainReleased
    {
        public static readonly DomainReleased Instance = new();
    }

    /// <param name="WhileStandingBy">It was read before this daemon's turn: a guest that is missing in it may be new, and is not gone.</param>
    /// <param name="Unknown">Guests that have devices on record, and of whom xenstored has never heard or not any more.</param>
    private sealed record Listed(bool WhileStandingBy, IReadOnlyList<BackendDirectory> Removed, IReadOnlyList<BackendDirectory> Directories, IReadOnlySet<DomainId> Unknown);
    private sealed record ListingFailed(Exception Cause);
    private sealed record GuestsEnded(IReadOnlySet<DomainId> Guests, string? Fault);

    /// <summary>Makes the actor of a guest.</summary>
    /// <param name="lost">The device for which the guest has been crashed.</param>
    /// <param name="errors">What an earlier actor of the guest was told and has not settled.</param>
    internal delegate Props GuestProps(
        BackendDirectory directory, SlotCandidate? lost, ImmutableArray<AerMonitor.Act> errors, bool standsBy);

    public BackendSupervisor(
        XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters,
        bool standsBy, GuestProps guestProps)
    {
        (_client, _host, _quarantine, _settings, _meters, _standsBy, _guestProps) =
            (client, host, quarantine, settings, meters, standsBy, guestProps);
        var self = Self;
        _directories = new ConnectionDirectories(client, settings.Domain,
            onChange: () => self.Tell(Changed.Instance, ActorRefs.NoSender),
            onDomainReleased: () => self.Tell(DomainReleased.Instance, ActorRefs.NoSender));
        Receive<Changed>(_ => OnChanged());
        Receive<DomainReleased>(_ => OnDomainReleased());
        Receive<Listed>(OnListed);
        Receive<ListingFailed>(failed => OnListingFailed(failed.Cause));
        Receive<GuestsEnded>(OnGuestsEnded);
        Receive<TakeOver>(_ => OnTurn());
        Receive<WhenReady>(_ => OnWhenReady());
        Receive<GuestActor.StartsOver>(starts => _startingOver.Add(starts.Directory));
        Receive<GuestActor.Finished>(finished => _finished.Add(finished.Directory));
        Receive<GuestActor.ErrorSettled>(settled => _unsettled.Remove((settled.Guest, settled.Device)));
        Receive<TraceMessages.Start>(start => SwitchTrace(_sinks.Add(start.Sink)));
        Receive<TraceMessages.Stop>(stop => SwitchTrace(_sinks.Remove(stop.Sink)));
        Receive<AerMonitor.Act>(OnDeviceError);
        Receive<AerMonitor.Listening>(_ =>
        {
            foreach (var guest in _guests.Values) guest.Tell(GuestActor.AnnounceAgain.Instance);
        });
        Receive<GuestLost>(lost => OnGuestLost(lost.Cause, lost.Actor));
        Receive<GuestCrashed>(OnGuestCrashed);
        Receive<DeviceActor.Released>(released => released.Log(_log));
        Receive<DetachEnded>(OnDetachEnded);
        Receive<TakenBack>(OnTakenBack);
        Receive<Quarantined>(OnQuarantined);
        Receive<RecordAgain>(again => Record(again.Device, isFirstTry: false));
        Receive<RecordLoss>(Write);
        Receive<LossNotRecorded>(OnLossNotRecorded);
        Receive<StartMonitor>(_ => StartAerMonitor());
        // After a pause: it may fail before it has done anything.
        Receive<Terminated>(terminated => terminated.ActorRef.Equals(_aerMonitor), OnMonitorEnded);
        Receive<Terminated>(terminated => OnGuestEnded(terminated.ActorRef));
    }

    public ITimerScheduler Timers { get; set; } = null!;

    public static Props Props(
        XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters,
        bool standsBy, GuestProps guestProps) => Akka.Actor.Props.Create(
            () => new BackendSupervisor(client, host, quarantine, settings, meters, standsBy, guestProps));

    protected override void PreStart() => OnChanged();

    protected override void PostStop() => _ = _directories.DisposeAsync().AsTask();

    protected override SupervisorStrategy SupervisorStrategy()
    {
        var (self, log) = (Self, _log);
        return FailureTable.OfGuests(cause =>
        {
            if (cause is DeviceLostException lost)
            {
                // Now: the device's actor is about to end.
                lost.Take();
                self.Tell(new GuestLost(lost, Text(Sender)));
            }
            else
            {
                log.Error(cause, "An actor has failed");
                _faults[Sender] = cause.Message;
            }
        });
    }

    private void OnTurn()
    {
        if (!_standsBy) return;
        _standsBy = false;
        _leftAlone.Clear();
        _failures.Clear();
        // The guests first: they wait.
        foreach (var guest in _guests.Values) guest.Tell(TakeOver.Instance);
        (_ready, _domainReleased) = (false, true);
        OnChanged();
    }

    private void OnDomainReleased()
    {
        _domainReleased = true;
        OnChanged();
    }

    private void OnChanged()
    {
        _again = true;
        if (_reading) return;
        if (_domainReleased && !_standsBy && _guests.Count > 0) AskWhoHasEnded();
        ReadAsync(_standsBy, _domainReleased && !_standsBy).PipeTo(Self, failure: e => new ListingFailed(e));
        (_reading, _again, _domainReleased) = (true, false, false);
    }

    // xenstored says that some domain has ended, and not which; one that has shut down is there until its toolstack takes it down.
    private void AskWhoHasEnded() => _host.Toolstack.EndedAsync()
        .PipeTo(Self, success: ended => new GuestsEnded(ended, null), failure: e => new GuestsEnded(new HashSet<DomainId>(), e.Message));

    private void OnGuestsEnded(GuestsEnded ended)
    {
        if (ended.Fault is not null) _log.Warning("Whether a guest has ended is not known, so the toolstack may wait for it in vain: {Fault}", ended.Fault);
        foreach (var (directory, guest) in _guests)
            if (ended.Guests.Contains(directory.Guest))
                guest.Tell(GuestActor.Ended.Instance);
    }

    private async Task<Listed> ReadAsync(bool standsBy, bool domainReleased)
    {
        var removed = domainReleased ? await _directories.RemoveStaleAsync().ConfigureAwait(false) : [];
        var directories = await _directories.ListAsync().ConfigureAwait(false);
        var unknown = new HashSet<DomainId>();
        foreach (var guest in _host.DeviceRecords.Unopened.Select(record => record.Guest).Distinct().Except(directories.Select(directory => directory.Guest)))
            if (!await _client.IsDomainIntroducedAsync(guest.Value).ConfigureAwait(false))
                unknown.Add(guest);
        return new Listed(standsBy, removed, directories, unknown);
    }

    private void OnListed(Listed listed)
    {
        _reading = false;
        foreach (var stale in listed.Removed) _log.Info("{Directory} removed: its domain is gone and the toolstack left it behind", stale.Path);
        _leftAlone.IntersectWith(listed.Directories);
        foreach (var gone in _failures.Keys.Except(listed.Directories).ToList()) _failures.Remove(gone);
        var present = listed.Directories.Concat(_guests.Keys).Select(directory => directory.Guest).ToHashSet();
        foreach (var gone in _lost.Keys.Except(present).ToList()) _lost.Remove(gone);
        _setAside.RemoveWhere(aside => !present.Contains(aside.Guest));
        foreach (var gone in _unsettled.Keys.Where(key => !present.Contains(key.Guest)).ToList()) _unsettled.Remove(gone);
        foreach (var directory in listed.Directories)
            if (!_guests.ContainsKey(directory) && !_leftAlone.Contains(directory))
                Serve(directory);
        DropCounts();
        if (!listed.WhileStandingBy) TakeBackAll(listed.Unknown);
        if (!_ready && listed.WhileStandingBy == _standsBy)
        {
            _ready = true;
            if (!_standsBy && _aerMonitor is null) StartAerMonitor();
            if (!_standsBy && _guests.Count > 0) AskWhoHasEnded();
            if (_standsBy) _log.Info("{Guests} guests of another daemon could be taken over", _guests.Count);
            else
                _log.As(LogEvents.Ready).Info("xenpciback is ready: Xen {XenVersion}, watching {Root}, {Guests} guests",
                    _host.Hypervisor.Version, BackendDirectory.RootOf(_settings.Domain), _guests.Count);
            Context.System.EventStream.Publish(BackendEvents.Ready.Instance);
            foreach (var waiting in _awaitReady) waiting.Tell(BackendEvents.Ready.Instance);
            _awaitReady.Clear();
        }
        if (_again) OnChanged();
    }

    private void OnWhenReady()
    {
        if (_ready) Sender.Tell(BackendEvents.Ready.Instance);
        else _awaitReady.Add(Sender);
    }

    private void OnListingFailed(Exception cause)
    {
        (_reading, _domainReleased) = (false, true);
        _log.Warning("Cannot list {Root}, trying again in {Pause} s: {Cause}", BackendDirectory.RootOf(_settings.Domain), _settings.StoreRetry.TotalSeconds, cause.Message);
        Timers.StartSingleTimer(nameof(Changed), Changed.Instance, _settings.StoreRetry);
    }

    private void Serve(BackendDirectory directory)
    {
        if (_host.Pci.KernelBackendServes(directory.Guest, directory.DeviceId))
        {
            _leftAlone.Add(directory);
            _log.As(LogEvents.LeftToKernel).About(directory.Guest)
                .Warning("The guest is served by the kernel's xen-pciback and left to it; "
                    + "to serve it here: xenpciback take {DomId}", directory.Guest);
            return;
        }
        var errors = _unsettled.Values.Where(act => act.Guest == directory.Guest).ToImmutableArray();
        var props = _guestProps(directory, _lost.GetValueOrDefault(directory.Guest), errors, _standsBy);
        var guest = Context.Watch(Context.ActorOf(props, directory.ActorName));
        _guests[directory] = guest;
        if (!_sinks.IsEmpty) guest.Tell(new TraceMessages.SinksAre(_sinks));
    }

    private void SwitchTrace(ImmutableArray<TraceSink> sinks)
    {
        _sinks = sinks;
        foreach (var guest in _guests.Values) guest.Tell(new TraceMessages.SinksAre(sinks));
    }

    private bool IsServed(DomainId guest) => _guests.Keys.Concat(_leftAlone).Any(directory => directory.Guest == guest);
}
