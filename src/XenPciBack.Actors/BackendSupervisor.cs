using System.Collections.Immutable;
using System.Diagnostics;
using Akka.Actor;
using Akka.Event;
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
    private readonly BackendSettings _settings;
    private readonly ConnectionDirectories _directories;
    private readonly ILoggingAdapter _log = Context.GetLogger();
    private readonly Dictionary<BackendDirectory, IActorRef> _guests = [];

    // Directories that are the kernel's, or whose actor failed: not touched until the toolstack has removed them.
    private readonly HashSet<BackendDirectory> _leftAlone = [];

    // Guests that have been crashed, by the device that was lost, until their directories are gone.
    private readonly Dictionary<DomainId, SlotCandidate> _lost = [];

    // Devices put into quarantine while their guests are still there.
    private readonly HashSet<(DomainId Guest, HostBdf Device)> _setAside = [];

    // When the actor of a guest failed, the latest last.
    private readonly Dictionary<BackendDirectory, List<long>> _failures = [];

    // Guests whose actors are ending in good order.
    private readonly HashSet<BackendDirectory> _finished = [];

    private IActorRef? _aerMonitor;
    private ImmutableArray<TraceSink> _sinks = [];
    private bool _reading;
    private bool _again;
    private bool _domainReleased = true;
    private bool _ready;

    private sealed record Changed
    {
        public static readonly Changed Instance = new();
    }

    private sealed record DomainReleased
    {
        public static readonly DomainReleased Instance = new();
    }

    private sealed record Listed(IReadOnlyList<BackendDirectory> Removed, IReadOnlyList<BackendDirectory> Directories);
    private sealed record ListingFailed(Exception Cause);

    private sealed record GuestLost(DeviceLostException Cause);
    private sealed record GuestCrashed(DeviceLostException Cause, int Errno, TimeSpan Took);
    private sealed record DetachEnded(DomainId Guest, HostBdf Device, string? Fault);
    private sealed record SetAsideEnded(HostBdf Device, string? Fault);

    public BackendSupervisor(XenStoreClient client, XenHost host, BackendSettings settings)
    {
        (_client, _host, _settings) = (client, host, settings);
        var self = Self;
        _directories = new ConnectionDirectories(client, settings.Domain,
            onChange: () => self.Tell(Changed.Instance, ActorRefs.NoSender),
            onDomainReleased: () => self.Tell(DomainReleased.Instance, ActorRefs.NoSender));
        Receive<Changed>(_ => OnChanged());
        Receive<DomainReleased>(_ => OnDomainReleased());
        Receive<Listed>(OnListed);
        Receive<ListingFailed>(failed => OnListingFailed(failed.Cause));
        Receive<GuestActor.Finished>(finished => _finished.Add(finished.Directory));
        Receive<Tracing.Start>(start => SwitchTrace(_sinks.Add(start.Sink)));
        Receive<Tracing.Stop>(stop => SwitchTrace(_sinks.Remove(stop.Sink)));
        Receive<AerMonitor.Act>(OnDeviceError);
        Receive<AerMonitor.Listening>(_ =>
        {
            foreach (var guest in _guests.Values) guest.Tell(GuestActor.AnnounceAgain.Instance);
        });
        Receive<GuestLost>(lost => OnGuestLost(lost.Cause));
        Receive<GuestCrashed>(OnGuestCrashed);
        Receive<DeviceActor.Released>(released => released.Log(_log));
        Receive<DetachEnded>(OnDetachEnded);
        Receive<SetAsideEnded>(ended =>
        {
            if (ended.Fault is null) _log.Warning("{Bdf} is in quarantine; no guest gets it until: xenpciback quarantine clear {Bdf}", ended.Device, ended.Device);
            else _log.Error("{Bdf} cannot be put on record as quarantined, the next guest may get it: {Cause}", ended.Device, ended.Fault);
        });
        Receive<Terminated>(terminated => terminated.ActorRef.Equals(_aerMonitor), _ => StartAerMonitor());
        Receive<Terminated>(terminated => OnGuestEnded(terminated.ActorRef));
    }

    public ITimerScheduler Timers { get; set; } = null!;

    public static Props Props(XenStoreClient client, XenHost host, BackendSettings settings) =>
        Akka.Actor.Props.Create(() => new BackendSupervisor(client, host, settings));

    protected override void PreStart()
    {
        StartAerMonitor();
        OnChanged();
    }

    private void StartAerMonitor() => _aerMonitor = Context.Watch(Context.ActorOf(AerMonitor.Props(_host, _settings.Aer), "aer"));

    protected override void PostStop() => _ = _directories.DisposeAsync().AsTask();

    protected override SupervisorStrategy SupervisorStrategy()
    {
        var (self, log) = (Self, _log);
        return Supervision.OfGuests(cause =>
        {
            if (cause is DeviceLostException lost) self.Tell(new GuestLost(lost));
            else log.Error(cause, "An actor has failed");
        });
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
        ReadAsync(_domainReleased).PipeTo(Self, failure: e => new ListingFailed(e));
        (_reading, _again, _domainReleased) = (true, false, false);
    }

    private async Task<Listed> ReadAsync(bool domainReleased) =>
        new(domainReleased ? await _directories.RemoveStaleAsync().ConfigureAwait(false) : [], await _directories.ListAsync().ConfigureAwait(false));

    private void OnListed(Listed listed)
    {
        _reading = false;
        foreach (var stale in listed.Removed) _log.Info("{Directory} removed: its domain is gone and the toolstack left it behind", stale.Path);
        _leftAlone.IntersectWith(listed.Directories);
        foreach (var gone in _failures.Keys.Except(listed.Directories).ToList()) _failures.Remove(gone);
        foreach (var gone in _lost.Keys.Except(listed.Directories.Select(directory => directory.Guest)).ToList()) _lost.Remove(gone);
        _setAside.RemoveWhere(aside => !listed.Directories.Any(directory => directory.Guest == aside.Guest));
        foreach (var directory in listed.Directories)
            if (!_guests.ContainsKey(directory) && !_leftAlone.Contains(directory))
                Serve(directory);
        foreach (var (guest, function) in _host.Pirqs.Forget(IsServed))
            _log.Info("{Bdf}: PIRQs unmapped that guest {DomId} has left behind", function, guest);
        if (!_ready)
        {
            _ready = true;
            _log.Info("xenpciback is ready: Xen {XenVersion}, watching {Root}, {Guests} guests", _host.Hypervisor.Version, BackendDirectory.RootOf(_settings.Domain), _guests.Count);
            Context.System.EventStream.Publish(BackendEvents.Ready.Instance);
        }
        if (_again) OnChanged();
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
        var guest = Context.Watch(Context.ActorOf(GuestActor.Props(directory, _client, _host, _settings, _lost.GetValueOrDefault(directory.Guest)), directory.ActorName));
        _guests[directory] = guest;
        if (!_sinks.IsEmpty) guest.Tell(new Tracing.SinksAre(_sinks));
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
        if (_finished.Remove(directory))
        {
            _log.Info("Guest {DomId} is gone; {Guests} left", directory.Guest, _guests.Count);
            // The toolstack may have made the directory anew while the actor was ending.
            OnChanged();
        }
        else if (FailsTooOften(directory))
        {
            _leftAlone.Add(directory);
            _log.Error("Guest {DomId} is no longer served: its actor has failed {Times} times; {Guests} left", directory.Guest, Supervision.MostFailures, _guests.Count);
        }
        else
        {
            if (!_lost.ContainsKey(directory.Guest)) _log.Error("Guest {DomId}: its actor failed; another one takes it up where it is", directory.Guest);
            Serve(directory);
            return;
        }
        Context.System.EventStream.Publish(new BackendEvents.GuestGone(directory.Guest));
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
        if (_lost.ContainsKey(act.Guest))
        {
            // One more device of a guest that has been ended for another one.
            if (act.Response != AerResponse.Report) SetAside(act.Guest, act.Device, act.Error.ToString());
        }
        else if (act.Response == AerResponse.Detach)
        {
            if (SetAside(act.Guest, act.Device, act.Error.ToString())) Detach(act.Guest, act.Device);
        }
        else
        {
            foreach (var (directory, guest) in _guests)
                if (directory.Guest == act.Guest)
                    guest.Tell(act);
        }
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
        Task.Run(() => new Quarantine(_host.LastingRecords).Add(quarantined)).PipeTo(Self, success: () => new SetAsideEnded(device, null), failure: e => new SetAsideEnded(device, e.Message));
        return true;
    }

    /// <summary>The guest is crashed through the hypervisor, so that the toolstack does what its on_crash says, and the classic node is written.</summary>
    private void OnGuestLost(DeviceLostException cause)
    {
        _lost[cause.Guest] = cause.Device.Candidate;
        var began = Stopwatch.GetTimestamp();
        var crashed = Task.Run(() => _host.Hypervisor.Crash(cause.Guest));
        crashed.PipeTo(Self, success: errno => new GuestCrashed(cause, errno, Stopwatch.GetElapsedTime(began)));
        // Not before: a guest that still runs would find its device without registers.
        crashed.ContinueWith(_ => cause.Device.GiveBack(), TaskScheduler.Default).PipeTo(Self, failure: e => new DeviceActor.Released(cause.Device.Bdf, e.Message));
        SetAside(cause.Guest, cause.Device.Bdf, cause.Reason);
        foreach (var directory in _guests.Keys.Where(directory => directory.Guest == cause.Guest))
            _directories.RecordLossAsync(directory, cause.Message).PipeTo(Self, failure: e => new ListingFailed(e));
    }

    private void OnGuestCrashed(GuestCrashed crashed)
    {
        var (cause, errno, took) = crashed;
        if (errno is 0 or Errnos.ESRCH) _log.Error("Guest {DomId} crashed in {Took:0.0} ms, because its device {Bdf} is lost: {Reason}", cause.Guest, took.TotalMilliseconds, cause.Device.Bdf, cause.Reason);
        else _log.Error("Guest {DomId} cannot be crashed ({Error}) and goes on without {Bdf}, which is lost: {Reason}", cause.Guest, Errnos.Name(errno), cause.Device.Bdf, cause.Reason);
        Context.System.EventStream.Publish(new BackendEvents.GuestKilled(cause.Guest, cause.Device.Bdf, cause.Reason));
    }
}
