using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Tracing;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// Watches <c>backend/pci</c> and keeps one <see cref="GuestActor"/> for each connection directory in it. What follows
/// from what happens is decided by <see cref="GuestLedger"/>, and performed here.
/// </summary>
internal sealed class BackendSupervisor : ReceiveActor, IWithTimers, IWithStash
{
    private readonly XenHost _host;
    private readonly Quarantine _quarantine;
    private readonly BackendSettings _settings;
    private readonly BackendMeters _meters;
    private readonly ConnectionDirectories _directories;
    private readonly DirectoryReader _reader;
    private readonly CrashSequence _crashSequence;
    private readonly GuestActors _guests;
    private readonly SupervisorReport _report;
    private readonly GuestProps _guestProps;
    private readonly long _began;

    private GuestLedger _ledger = GuestLedger.Empty;
    private IActorRef _monitor = ActorRefs.Nobody;
    private Role _role;

    private sealed record Look(Wanted What);
    private sealed record ListingFailed(Exception Cause);
    private sealed record GuestsEnded(IReadOnlySet<DomainId> Guests, string? Fault);
    private sealed record ChildFailed(IActorRef Child, Exception Cause);
    private sealed record GuestEnded(BackendDirectory Directory);
    private sealed record MonitorEnded;
    private sealed record StartMonitor;
    private sealed record LossNotSaid(LedgerEffect.SayLost Loss, string Fault);

    /// <summary>Makes the actor of a guest.</summary>
    /// <param name="lost">The devices for which the guest was crashed.</param>
    /// <param name="errors">What an earlier actor of the guest was told and has not settled.</param>
    internal delegate Props GuestProps(
        BackendDirectory directory, ImmutableHashSet<HostBdf> lost, ImmutableArray<AerMonitor.Act> errors,
        bool standsBy);

    public BackendSupervisor(
        XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters,
        bool standsBy, GuestProps guestProps)
    {
        (_host, _quarantine, _settings, _meters, _guestProps) = (host, quarantine, settings, meters, guestProps);
        _began = host.Clock.GetTimestamp();
        _role = standsBy ? Role.Standby : Role.Serving;
        _guests = new GuestActors(Context, ended: directory => new GuestEnded(directory));
        _report = new SupervisorReport(Context);
        var self = Self;
        _crashSequence = new CrashSequence(host, quarantine, message => self.Tell(message, ActorRefs.NoSender));
        _directories = new ConnectionDirectories(client, settings.Domain,
            onChange: () => self.Tell(new Look(Wanted.Directories), ActorRefs.NoSender),
            onDomainReleased: () => self.Tell(new Look(Wanted.EndedDomains), ActorRefs.NoSender));
        _reader = new DirectoryReader(_directories, host);
        Preparing();
    }

    public ITimerScheduler Timers { get; set; } = null!;

    public IStash Stash { get; set; } = null!;

    public static Props Props(
        XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters,
        bool standsBy, GuestProps guestProps) => Akka.Actor.Props.Create(
            () => new BackendSupervisor(client, host, quarantine, settings, meters, standsBy, guestProps));

    protected override void PreStart() => OnLook(Wanted.EndedDomains);

    protected override void PostStop() => _ = _directories.DisposeAsync().AsTask();

    protected override SupervisorStrategy SupervisorStrategy()
    {
        var self = Self;
        return FailureTable.OfGuests((child, cause) => self.Tell(new ChildFailed(child, cause)));
    }

    /// <summary>The guests from before have not been found yet.</summary>
    private void Preparing()
    {
        Receive<DirectoryReader.Listed>(OnFirstListed);
        Receive<WhenReady>(_ => Stash.Stash());
        Always();
    }

    private void Ready()
    {
        Receive<DirectoryReader.Listed>(OnListed);
        Receive<WhenReady>(_ => Sender.Tell(BackendEvents.Ready.Instance));
        Always();
    }

    private void Always()
    {
        Receive<Look>(look => OnLook(look.What));
        Receive<ListingFailed>(failed => OnListingFailed(failed.Cause));
        Receive<GuestsEnded>(OnGuestsEnded);
        Receive<TakeOver>(_ => OnTurn());
        Receive<GuestActor.StartsOver>(
            starts => Apply(new LedgerInput.ActorEnds(starts.Directory, GuestStage.StartingOver)));
        Receive<GuestActor.Finished>(
            finished => Apply(new LedgerInput.ActorEnds(finished.Directory, GuestStage.Finishing)));
        Receive<ChildFailed>(OnChildFailed);
        Receive<GuestEnded>(
            ended => Apply(new LedgerInput.ActorEnded(ended.Directory, _host.Clock.GetElapsedTime(_began))));
        Receive<TraceMessages.Start>(start => _guests.AddSink(start.Sink, _ledger.Served));
        Receive<TraceMessages.Stop>(stop => _guests.RemoveSink(stop.Sink, _ledger.Served));
        Receive<AerMonitor.Met>(met => Apply(new LedgerInput.ErrorMet(met.Source, met.Acts)));
        Receive<AerMonitor.Act>(OnDeviceError);
        Receive<AerMonitor.Listening>(_ => _guests.Tell(_ledger.Served, GuestActor.AnnounceAgain.Instance));
        Receive<AerMonitor.PastErrorsTold>(_ => OnPastErrorsTold());
        Receive<GuestActor.DeviceLost>(OnDeviceLost);
        Receive<GuestActor.ErrorSettled>(
            settled => Apply(new LedgerInput.ErrorSettled(new(settled.Guest, settled.Device))));
        Receive<LedgerInput>(Apply);
        Receive<CrashSequence.Crashed>(_report.Crashed);
        Receive<CrashSequence.IntentFailed>(_report.IntentFailed);
        Receive<LedgerEffect.Try>(Perform);
        Receive<LedgerEffect.SayLost>(Perform);
        Receive<LossNotSaid>(OnLossNotSaid);
        Receive<StartMonitor>(_ => OnStartMonitor());
        // After a pause: it may fail before it has done anything.
        Receive<MonitorEnded>(
            _ => Timers.StartSingleTimer(nameof(StartMonitor), new StartMonitor(), _settings.StoreRetry));
    }

    private void Apply(LedgerInput input)
    {
        (_ledger, var effects) = _ledger.On(input);
        foreach (var effect in effects) Perform(effect);
    }

    private void Perform(LedgerEffect effect)
    {
        switch (effect)
        {
            case LedgerEffect.Serve(var directory, var lost, var errors):
                _guests.Start(directory, _guestProps(directory, lost, errors, _role == Role.Standby));
                if (!lost.IsEmpty) TakeBackClosed(directory.Guest);
                break;
            case LedgerEffect.TellError(var directory, var act):
                _guests.Tell(directory, act);
                break;
            case LedgerEffect.Hold(var device):
                _quarantine.Hold(device);
                Context.System.EventStream.Publish(new BackendEvents.DeviceQuarantined(device));
                break;
            case LedgerEffect.Try attempt:
                _crashSequence.Begin(attempt);
                break;
            case LedgerEffect.TryLater(var attempt):
                Timers.StartSingleTimer((nameof(LedgerEffect.Try), attempt.Loss.Name), attempt, _settings.StoreRetry);
                break;
            case LedgerEffect.SayLost loss:
                _directories.RecordLossAsync(loss.Directory, loss.Text)
                    .PipeTo(Self, failure: e => new LossNotSaid(loss, e.Message));
                break;
            case LedgerEffect.TellLost(var device):
                _guests.Tell(
                    _ledger.Served.Where(guest => guest.Directory.Guest == device.Guest),
                    new GuestActor.GuestLost(device.Device));
                TakeBackClosed(device.Guest);
                break;
            case LedgerEffect.Detach(var device):
                _host.Toolstack.DetachAsync(device.Guest, device.Device).PipeTo(
                    Self, success: fault => new LedgerInput.DetachEnded(device, fault),
                    failure: e => new LedgerInput.DetachEnded(device, e.Message));
                break;
            case LedgerEffect.ErrorsHandled(var source, var errors):
                _host.Aer.Handled(source, errors);
                break;
            case LedgerEffect.TakeBack(var device):
                Task.Run(() => AssignedDevice.TakeBack(_host, _settings.Devices, device.Guest, device.Device)).PipeTo(
                    Self, success: released => new LedgerInput.TakenBack(device, released, null),
                    failure: e => new LedgerInput.TakenBack(device, null, e.Message));
                break;
            case LedgerEffect.Look:
                OnLook(Wanted.Directories);
                break;
            case LedgerEffect.LookLater:
                LookLater();
                break;
            case LedgerEffect.Say said:
                _report.Say(said, _role, _ledger.Served.Count());
                DropCounts();
                break;
        }
    }

    // ---- Directories and actors -------------------------------------------------------------------------------------

    private void OnLook(Wanted wanted)
    {
        if (wanted == Wanted.EndedDomains) AskWhoHasEnded();
        _reader.Read(wanted, _role, _ledger)?.PipeTo(Self, failure: e => new ListingFailed(e));
    }

    private void LookLater() =>
        Timers.StartSingleTimer(nameof(Look), new Look(Wanted.Directories), _settings.StoreRetry);

    private void OnFirstListed(DirectoryReader.Listed listed)
    {
        // Their guests are not served any more.
        foreach (var loss in listed.Losses) Apply(loss);
        OnListed(listed);
        // A guest that is missing in what was read before this daemon's turn may be new.
        if (listed.Role != _role) return;
        if (_role == Role.Serving && _monitor.IsNobody()) OnStartMonitor();
        AskWhoHasEnded();
        _report.Ready(
            _role == Role.Serving ? _host.Hypervisor.Version : null, _settings.Domain, _ledger.Served.Count());
        Become(Ready);
        Stash.UnstashAll();
    }

    private void OnListed(DirectoryReader.Listed listed)
    {
        _reader.Done();
        foreach (var stale in listed.Removed) _report.Removed(stale);
        Apply(listed.Found);
        DropCounts();
        OnLook(Wanted.Nothing);
    }

    private void OnListingFailed(Exception cause)
    {
        _reader.Done(missed: Wanted.EndedDomains);
        _report.ListingFailed(BackendDirectory.RootOf(_settings.Domain), _settings.StoreRetry, cause);
        LookLater();
    }

    // xenstored says that some domain has ended, and not which; one that has shut down is there until its toolstack takes it down.
    private void AskWhoHasEnded()
    {
        if (_role == Role.Standby || !_ledger.Served.Any()) return;
        _host.Toolstack.EndedAsync().PipeTo(
            Self, success: ended => new GuestsEnded(ended, null),
            failure: e => new GuestsEnded(new HashSet<DomainId>(), e.Message));
    }

    private void OnGuestsEnded(GuestsEnded ended)
    {
        if (ended.Fault is not null) _report.EndsUnknown(ended.Fault);
        _guests.Tell(
            _ledger.Served.Where(guest => ended.Guests.Contains(guest.Directory.Guest)), GuestActor.Ended.Instance);
    }

    private void OnTurn()
    {
        if (_role == Role.Serving) return;
        _role = Role.Serving;
        // The guests first: they wait.
        _guests.Tell(_ledger.Served, TakeOver.Instance);
        Apply(new LedgerInput.TookOver());
        Become(Preparing);
        OnLook(Wanted.EndedDomains);
    }

    private void OnChildFailed(ChildFailed failed)
    {
        var fault = failed.Cause.Message;
        _report.Failed(failed.Cause);
        if (failed.Child.Equals(_monitor)) _report.MonitorReplaced(_monitor, fault);
        else if (_ledger.Served.FirstOrDefault(one => one.Directory.ActorName == failed.Child.Path.Name) is { } guest)
            Apply(new LedgerInput.ActorEnds(guest.Directory, GuestStage.Serving, fault));
    }

    /// <summary>Of guests that are served no more.</summary>
    private void DropCounts()
    {
        var served = _ledger.Served.Select(guest => guest.Directory.Guest).ToHashSet();
        foreach (var counted in _meters.Guests.Where(counted => !served.Contains(counted.Domain)))
            _meters.Drop(counted.Domain);
    }

    // ---- Errors of devices ------------------------------------------------------------------------------------------

    private void OnStartMonitor()
    {
        _monitor = Context.ActorOf(AerMonitor.Props(_host, _settings.Aer), "aer");
        Context.WatchWith(_monitor, new MonitorEnded());
    }

    private void OnDeviceError(AerMonitor.Act act)
    {
        var actor = Sender.Equals(_monitor) ? nameof(AerMonitor) : nameof(GuestActor);
        Apply(new LedgerInput.DeviceError(
            act, _host.Clock.GetUtcNow(), $"{SupervisorReport.PathOf(Sender)} {actor}: {act.Error}"));
    }

    private void OnDeviceLost(GuestActor.DeviceLost lost)
    {
        var origin = $"{SupervisorReport.PathOf(Sender)} {nameof(GuestActor)}: {lost.Reason}";
        Apply(new LedgerInput.DeviceLost(new(lost.Guest, lost.Device), lost.Reason, _host.Clock.GetUtcNow(), origin));
    }

    private void OnPastErrorsTold()
    {
        Apply(new LedgerInput.ErrorsKnown());
        _quarantine.SetComplete();
    }

    private void OnLossNotSaid(LossNotSaid failed)
    {
        if (!_ledger.Guests.ContainsKey(failed.Loss.Directory)) return;
        _report.LossNotSaid(failed.Loss.Directory.Guest, _settings.StoreRetry, failed.Fault);
        Timers.StartSingleTimer(failed.Loss, failed.Loss, _settings.StoreRetry);
    }

    /// <summary>The lost devices of a guest that its actor does not have open, and so cannot release.</summary>
    private void TakeBackClosed(DomainId guest)
    {
        foreach (var record in _host.DeviceRecords.Unopened.Where(record => record.Guest == guest))
            Apply(new LedgerInput.DeviceClosed(new(record.Guest, record.Function)));
    }
}
