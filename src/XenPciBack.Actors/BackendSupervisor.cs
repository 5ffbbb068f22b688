using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Actors.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.XenStore;

namespace XenPciBack.Actors;

/// <summary>Watches <c>backend/pci</c> and keeps one <see cref="GuestActor"/> for each connection directory in it.</summary>
internal sealed class BackendSupervisor : ReceiveActor, IWithTimers
{
    private readonly XenStoreClient _client;
    private readonly XenHost _host;
    private readonly Quarantine _quarantine;
    private readonly BackendSettings _settings;
    private readonly BackendMeters _meters;
    private readonly ConnectionDirectories _directories;
    private readonly ILoggingAdapter _log = Context.GetLogger();
    private readonly Dictionary<BackendDirectory, IActorRef> _guests = [];

    // Directories that are the kernel's, or whose actor failed: not touched until the toolstack has removed them.
    private readonly HashSet<BackendDirectory> _leftAlone = [];

    // Guests that have been crashed, by the device that was lost, until their directories are gone.
    private readonly Dictionary<DomainId, SlotCandidate> _lost = [];

    // Guests whose actor is ending because of such a loss, which is no failure of it.
    private readonly HashSet<DomainId> _endingWithDevice = [];

    // Devices put into quarantine while their guests are still there.
    private readonly HashSet<(DomainId Guest, HostBdf Device)> _setAside = [];

    // What guests were told of their devices and have not seen through yet: the next actor of a guest whose actor fails hears of it again.
    private readonly Dictionary<(DomainId Guest, HostBdf Device), AerMonitor.Act> _unsettled = [];

    // Devices of guests that ended without their daemon, which are being given back.
    private readonly HashSet<(DomainId Guest, HostBdf Device)> _takingBack = [];

    // Guests that xenstored has lost, and that run without a backend.
    private readonly HashSet<DomainId> _forgotten = [];

    // Why actors have failed that are about to end.
    private readonly Dictionary<IActorRef, string> _faults = [];

    // When the actor of a guest failed, the latest last.
    private readonly Dictionary<BackendDirectory, List<long>> _failures = [];

    // Guests whose actors are ending in good order.
    private readonly HashSet<BackendDirectory> _finished = [];

    // Guests whose actors are ending because another one is to read everything anew.
    private readonly HashSet<BackendDirectory> _startingOver = [];

    private readonly List<IActorRef> _awaitReady = [];

    private IActorRef? _aerMonitor;
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

    private sealed record StartMonitor
    {
        public static readonly StartMonitor Instance = new();
    }

    private sealed record GuestLost(DeviceLostException Cause, string Actor);
    private sealed record GuestCrashed(DeviceLostException Cause, string Actor, string? Fault, TimeSpan Took);
    private sealed record RecordLoss(BackendDirectory Directory, string Text);
    private sealed record LossNotRecorded(RecordLoss Loss, string Fault);
    private sealed record TakenBack(DomainId Guest, HostBdf Device, DeviceActor.Released? Released, string? Fault);
    private sealed record DetachEnded(DomainId Guest, HostBdf Device, string? Fault);
    private sealed record Quarantined(QuarantinedDevice Device, string? Fault, bool IsFirstTry);
    private sealed record RecordAgain(QuarantinedDevice Device);

    public BackendSupervisor(XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters, bool standsBy)
    {
        (_client, _host, _quarantine, _settings, _meters, _standsBy) = (client, host, quarantine, settings, meters, standsBy);
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
        Receive<Tracing.Start>(start => SwitchTrace(_sinks.Add(start.Sink)));
        Receive<Tracing.Stop>(stop => SwitchTrace(_sinks.Remove(stop.Sink)));
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

    public static Props Props(XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, BackendMeters meters, bool standsBy) =>
        Akka.Actor.Props.Create(() => new BackendSupervisor(client, host, quarantine, settings, meters, standsBy));

    protected override void PreStart() => OnChanged();

    private void OnMonitorEnded(Terminated monitor)
    {
        _faults.Remove(monitor.ActorRef, out var fault);
        Context.System.EventStream.Publish(new BackendEvents.ActorReplaced(nameof(AerMonitor), null, fault ?? "", [$"{Text(monitor.ActorRef)} {nameof(AerMonitor)}: fails, {fault}", Did("starts another one")]));
        Timers.StartSingleTimer(nameof(StartMonitor), StartMonitor.Instance, _settings.StoreRetry);
    }

    private void StartAerMonitor() => _aerMonitor = Context.Watch(Context.ActorOf(AerMonitor.Props(_host, _settings.Aer), "aer"));

    protected override void PostStop() => _ = _directories.DisposeAsync().AsTask();

    protected override SupervisorStrategy SupervisorStrategy()
    {
        var (self, log) = (Self, _log);
        return Supervision.OfGuests(cause =>
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
            else _log.Info("xenpciback is ready: Xen {XenVersion}, watching {Root}, {Guests} guests", _host.Hypervisor.Version, BackendDirectory.RootOf(_settings.Domain), _guests.Count);
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
            _log.Warning("Guest {DomId} is served by the kernel's xen-pciback and left to it; to serve it here: echo pci-{DomId}-{DeviceId} > /sys/bus/xen-backend/drivers/xen-pciback/unbind, then restart the guest",
                directory.Guest, directory.Guest, directory.DeviceId);
            return;
        }
        var errors = _unsettled.Values.Where(act => act.Guest == directory.Guest).ToImmutableArray();
        var guest = Context.Watch(Context.ActorOf(GuestActor.Props(directory, _client, _host, _quarantine, _settings, _meters.Serve(directory.Guest), _lost.GetValueOrDefault(directory.Guest), errors, _standsBy), directory.ActorName));
        _guests[directory] = guest;
        if (!_sinks.IsEmpty) guest.Tell(new Tracing.SinksAre(_sinks));
    }

    /// <summary>Devices on record for guests that have no connection any more.</summary>
    private void TakeBackAll(IReadOnlySet<DomainId> unknown)
    {
        foreach (var (guest, function) in _host.DeviceRecords.Unopened)
        {
            if (IsServed(guest)) continue;
            if (!unknown.Contains(guest) || !_host.Hypervisor.IsAlive(guest))
            {
                TakeBack(guest, function);
                continue;
            }
            // xenstored has begun anew without what it had, and so has this daemon. Nobody announces that guest's end.
            if (_forgotten.Add(guest)) _log.Error("Guest {DomId} still runs and has {Bdf}, but xenstored does not know it any more: it cannot be served, and keeps its devices until it ends", guest, function);
            Timers.StartSingleTimer(nameof(Changed), Changed.Instance, _settings.StoreRetry);
        }
    }

    /// <summary>The guest is gone, and the daemon that served it did not live to give its device back.</summary>
    private void TakeBack(DomainId guest, HostBdf function)
    {
        if (!_takingBack.Add((guest, function))) return;
        Task.Run(() => AssignedDevice.TakeBack(_host, _settings.Devices, guest, function))
            .PipeTo(Self, success: released => new TakenBack(guest, function, released, null), failure: e => new TakenBack(guest, function, null, e.Message));
    }

    private void OnTakenBack(TakenBack back)
    {
        _takingBack.Remove((back.Guest, back.Device));
        if (back.Fault is null) _log.Info("{Bdf} taken back from guest {DomId}, which ended while nobody served it", back.Device, back.Guest);
        else _log.Error("{Bdf} cannot be taken back from guest {DomId}, which is gone: {Fault}", back.Device, back.Guest, back.Fault);
        back.Released?.Log(_log);
    }

    private void SwitchTrace(ImmutableArray<TraceSink> sinks)
    {
        _sinks = sinks;
        foreach (var guest in _guests.Values) guest.Tell(new Tracing.SinksAre(sinks));
    }

    private bool IsServed(DomainId guest) => _guests.Keys.Concat(_leftAlone).Any(directory => directory.Guest == guest);

    private void OnGuestEnded(IActorRef ended)
    {
        var directory = _guests.First(g => g.Value.Equals(ended)).Key;
        _guests.Remove(directory);
        _faults.Remove(ended, out var fault);
        fault ??= "it has ended without a word";
        if (_startingOver.Remove(directory))
        {
            OnChanged();
            return;
        }
        if (_finished.Remove(directory))
        {
            if (!_standsBy) _log.Info("Guest {DomId} is gone; {Guests} left", directory.Guest, _guests.Count);
            // The toolstack may have made the directory anew while the actor was ending.
            OnChanged();
        }
        else if (_endingWithDevice.Remove(directory.Guest))
        {
            // Another one sees its directory through to its end.
            Serve(directory);
            return;
        }
        else if (FailsTooOften(directory))
        {
            Context.System.EventStream.Publish(new BackendEvents.GuestAbandoned(directory.Guest, fault, [Failed(ended, fault), Did("leaves the guest alone")]));
            _leftAlone.Add(directory);
            _log.Error("Guest {DomId} is no longer served: its actor has failed {Times} times; {Guests} left", directory.Guest, Supervision.MostFailures, _guests.Count);
        }
        else
        {
            _log.Error("Guest {DomId}: its actor failed; another one takes it up where it is", directory.Guest);
            Context.System.EventStream.Publish(new BackendEvents.ActorReplaced(nameof(GuestActor), directory.Guest, fault, [Failed(ended, fault), Did("starts another one, which takes the guest up where it is")]));
            Serve(directory);
            return;
        }
        DropCounts();
        Context.System.EventStream.Publish(new BackendEvents.GuestGone(directory.Guest));
    }

    /// <summary>Of guests that are served no more.</summary>
    private void DropCounts()
    {
        foreach (var counted in _meters.Guests)
            if (!_guests.Keys.Any(directory => directory.Guest == counted.Domain))
                _meters.Drop(counted.Domain);
    }

    private bool FailsTooOften(BackendDirectory directory)
    {
        if (!_failures.TryGetValue(directory, out var failures)) _failures[directory] = failures = [];
        failures.Add(Stopwatch.GetTimestamp());
        failures.RemoveAll(at => Stopwatch.GetElapsedTime(at) > Supervision.FailureWindow);
        return failures.Count >= Supervision.MostFailures;
    }

    // ---- Errors of devices ------------------------------------------------------------------------------------------------

    private void OnDeviceError(AerMonitor.Act act)
    {
        // It is gone by now, and the device nobody's.
        if (!_guests.Keys.Any(directory => directory.Guest == act.Guest)) return;
        var isEnding = _lost.ContainsKey(act.Guest);
        // One more device of a guest that has been ended for another one, too.
        var isSetAside = (act.Response is AerResponse.Kill or AerResponse.Detach || (isEnding && act.Response != AerResponse.Report)) && SetAside(act.Guest, act.Device, act.Error);
        if (isEnding) return;
        if (act.Response == AerResponse.Detach)
        {
            if (isSetAside) Detach(act.Guest, act.Device);
            return;
        }
        if (act.Response != AerResponse.Report)
        {
            // More of what the guest's actor is at already: a storm is one message.
            if (_unsettled.TryGetValue((act.Guest, act.Device), out var before) && before.Severity >= act.Severity) return;
            _unsettled[(act.Guest, act.Device)] = act;
        }
        foreach (var (directory, guest) in _guests)
            if (directory.Guest == act.Guest)
                guest.Tell(act);
    }

    /// <summary>The toolstack takes the device away, with the guest's help, as for <c>xl pci-detach</c>.</summary>
    private void Detach(DomainId guest, HostBdf device) => _host.Toolstack.DetachAsync(guest, device)
        .PipeTo(Self, success: fault => new DetachEnded(guest, device, fault), failure: e => new DetachEnded(guest, device, e.Message));

    private void OnDetachEnded(DetachEnded ended)
    {
        _setAside.Remove((ended.Guest, ended.Device));
        if (ended.Fault is null) _log.Warning("{Bdf} taken away from guest {DomId}, which goes on without it", ended.Device, ended.Guest);
        else _log.Error("{Bdf} cannot be taken away from guest {DomId}: {Fault}", ended.Device, ended.Guest, ended.Fault);
    }

    /// <returns>false if that has been done already.</returns>
    private bool SetAside(DomainId guest, HostBdf device, string reason)
    {
        if (!_setAside.Add((guest, device))) return false;
        var quarantined = new QuarantinedDevice(device, guest, TimeProvider.System.GetUtcNow(), reason);
        _quarantine.Hold(quarantined);
        Context.System.EventStream.Publish(new BackendEvents.DeviceQuarantined(quarantined));
        Record(quarantined, isFirstTry: true);
        return true;
    }

    private void Record(QuarantinedDevice device, bool isFirstTry) => Task.Run(() => _quarantine.Record(device))
        .PipeTo(Self, success: () => new Quarantined(device, null, isFirstTry), failure: e => new Quarantined(device, e.Message, isFirstTry));

    private void OnQuarantined(Quarantined quarantined)
    {
        var device = quarantined.Device;
        if (quarantined.Fault is null)
        {
            _log.Warning("{Bdf} is in quarantine; no guest gets it until: xenpciback quarantine clear {Bdf}", device.Device, device.Device);
            return;
        }
        if (quarantined.IsFirstTry) _log.Error("{Bdf} is in quarantine for as long as this daemon runs: that cannot be put on record, trying on: {Fault}", device.Device, quarantined.Fault);
        Timers.StartSingleTimer((nameof(Record), device.Device), new RecordAgain(device), _settings.StoreRetry);
    }

    /// <summary>The guest is crashed through the hypervisor, so that the toolstack does what its on_crash says, and the classic node is written.</summary>
    private void OnGuestLost(DeviceLostException cause, string actor)
    {
        _lost[cause.Guest] = cause.Device.Candidate;
        _endingWithDevice.Add(cause.Guest);
        var began = Stopwatch.GetTimestamp();
        var crashed = Task.Run(() => _host.Hypervisor.Crash(cause.Guest));
        crashed.PipeTo(Self,
            success: errno => new GuestCrashed(cause, actor, errno is 0 or Errnos.ESRCH ? null : Errnos.Name(errno), Stopwatch.GetElapsedTime(began)),
            failure: e => new GuestCrashed(cause, actor, e.Message, Stopwatch.GetElapsedTime(began)));
        // Not before: a guest that still runs would find its device without registers.
        Task.WhenAll(crashed, cause.Free).ContinueWith(_ => cause.Device.GiveBack(), TaskScheduler.Default).PipeTo(Self, failure: e => new DeviceActor.Released(cause.Device.Bdf, e.Message));
        SetAside(cause.Guest, cause.Device.Bdf, cause.Reason);
        // What its driver has not brought back yet, or not even heard of, nobody will.
        foreach (var act in _unsettled.Values.Where(act => act.Guest == cause.Guest)) SetAside(act.Guest, act.Device, act.Error);
        foreach (var directory in _guests.Keys.Where(directory => directory.Guest == cause.Guest)) Write(new RecordLoss(directory, cause.Message));
    }

    private void OnGuestCrashed(GuestCrashed crashed)
    {
        var (cause, actor, fault, took) = crashed;
        if (fault is null) _log.Error("Guest {DomId} crashed in {Took:0.0} ms, because its device {Bdf} is lost: {Reason}", cause.Guest, took.TotalMilliseconds, cause.Device.Bdf, cause.Reason);
        else _log.Error("Guest {DomId} cannot be crashed ({Fault}) and goes on without {Bdf}, which is lost: {Reason}", cause.Guest, fault, cause.Device.Bdf, cause.Reason);
        Context.System.EventStream.Publish(new BackendEvents.GuestKilled(cause.Guest, cause.Device.Bdf, cause.Reason)
        {
            Path =
            [
                $"{actor}/{cause.Device.Bdf} {nameof(DeviceActor)}: its device is lost, {cause.Reason}", $"{actor} {nameof(GuestActor)}: fails with its device",
                Did(fault is null ? string.Create(CultureInfo.InvariantCulture, $"crashed the guest through the hypervisor in {took.TotalMilliseconds:0.0} ms") : $"could not crash the guest: {fault}"),
            ],
        });
    }

    private string Did(string what) => $"{Text(Self)} {nameof(BackendSupervisor)}: {what}";

    private static string Failed(IActorRef guest, string fault) => $"{Text(guest)} {nameof(GuestActor)}: fails, {fault}";

    private static string Text(IActorRef actor) => actor.Path.ToStringWithoutAddress();

    private void Write(RecordLoss loss) => _directories.RecordLossAsync(loss.Directory, loss.Text).PipeTo(Self, failure: e => new LossNotRecorded(loss, e.Message));

    private void OnLossNotRecorded(LossNotRecorded failed)
    {
        if (!_lost.ContainsKey(failed.Loss.Directory.Guest)) return;
        _log.Warning("The loss of a device of guest {DomId} cannot be written to xenstore, trying again in {Pause} s: {Fault}", failed.Loss.Directory.Guest, _settings.StoreRetry.TotalSeconds, failed.Fault);
        Timers.StartSingleTimer(failed.Loss, failed.Loss, _settings.StoreRetry);
    }
}
