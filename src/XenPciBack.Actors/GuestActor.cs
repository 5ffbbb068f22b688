using System.Collections.Immutable;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Actors.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.XenStore;

namespace XenPciBack.Actors;

/// <summary>
/// Serves one guest: owns its page, its event channel and one <see cref="DeviceActor"/> for each of its devices.
/// <para>Control: a change in xenstore, both directories read, <see cref="GuestConnection.Step"/>, its effects performed one after
/// the other, read again until nothing is left to do.</para>
/// <para>Data: an event, the request copied out of the page, the device's answer, published; at most
/// <see cref="BackendSettings.RequestsPerTurn"/> in a row.</para>
/// </summary>
internal sealed partial class GuestActor : ReceiveActor, IWithTimers
{
    private readonly BackendDirectory _directory;
    private readonly XenHost _host;
    private readonly Quarantine _quarantine;
    private readonly BackendSettings _settings;
    private readonly ConnectionStore _store;
    private readonly ILoggingAdapter _log;
    private readonly Dictionary<HostBdf, IActorRef> _devices = [];
    private readonly List<Task<AssignedDevice>> _opening = [];
    private readonly GuestTrace _trace;
    private readonly GuestMeter _meter;

    // The guest has been crashed because of this device: nothing is served any more, and the toolstack is not kept waiting.
    private readonly SlotCandidate? _lost;

    // Control plane
    private readonly Queue<ConnectionEffect> _effects = new();
    private GuestConnection _connection;
    private (XenbusState State, VirtualSlots Slots) _announced;
    private bool _isTakenUp;
    private bool _inPass;
    private bool _again;
    private bool _directoryGone;
    private bool _isForgotten;
    private string? _name;

    // Mini-OS has seen by then that the backend has closed, and goes on; Linux's frontend finds it open when a driver is bound again.
    private static readonly TimeSpan ReopeningPause = TimeSpan.FromSeconds(1);

    // The kernel takes the ports of a process from it one after the other, and its locks somewhere in between.
    private static readonly TimeSpan ConnectPause = TimeSpan.FromMilliseconds(10);
    private int _connectsLeft = 100;

    /// <summary>Told to the parent before the actor ends in good order: the directory is gone and everything of it was released.</summary>
    public sealed record Finished(BackendDirectory Directory);

    /// <summary>Told to the parent before the actor ends: what it has read is not so any more, and another one is to read it anew.</summary>
    public sealed record StartsOver(BackendDirectory Directory);

    /// <summary>The guest runs no more, and its toolstack is about to take it down.</summary>
    public sealed record Ended
    {
        public static readonly Ended Instance = new();
    }

    /// <summary>To the parent: what it has told of this device needs nothing more.</summary>
    public sealed record ErrorSettled(DomainId Guest, HostBdf Device);

    /// <summary>Publish the state and the devices as after a change, for somebody who is new.</summary>
    public sealed record AnnounceAgain
    {
        public static readonly AnnounceAgain Instance = new();
    }

    private sealed record Changed
    {
        public static readonly Changed Instance = new();
    }

    private sealed record PortEvent
    {
        public static readonly PortEvent Instance = new();
    }

    private sealed record ConnectAgain
    {
        public static readonly ConnectAgain Instance = new();
    }

    private sealed record FrontendIsSilent
    {
        public static readonly FrontendIsSilent Instance = new();
    }

    private sealed record ClosedForLong
    {
        public static readonly ClosedForLong Instance = new();
    }

    private sealed record NoVerdict
    {
        public static readonly NoVerdict Instance = new();
    }

    private sealed record LookAgain
    {
        public static readonly LookAgain Instance = new();
    }

    private sealed record LookedAgain(ConnectionInput.Observed? Observed);
    private sealed record EffectDone;
    private sealed record StoreFailed(Exception Cause);

    public GuestActor(BackendDirectory directory, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, GuestMeter meter, SlotCandidate? lost, ImmutableArray<AerMonitor.Act> errors, bool standsBy)
    {
        (_directory, _host, _quarantine, _settings, _meter, _lost, _standsBy) = (directory, host, quarantine, settings, meter, lost, standsBy);
        _meter.ServedBy(Context);
        foreach (var error in errors) _early[error.Device] = error;
        _connection = new GuestConnection(directory.Guest, settings.Topologies);
        _announced = (_connection.State, _connection.Slots);
        _trace = new GuestTrace(directory.Guest);
        _log = Context.GetLogger().WithContext("Guest", directory.Guest.Value);
        var self = Self;
        _store = new ConnectionStore(client, directory, () => self.Tell(Changed.Instance, ActorRefs.NoSender));

        Receive<PortEvent>(_ => OnPortEvent());
        Receive<PciAnswer>(answer => OnAnswer(answer));
        Receive<DeviceActor.TracedAnswer>(traced => OnAnswer(traced.Answer, traced));
        Receive<Tracing.SinksAre>(now => _trace.SwitchTo(now.Sinks));
        Receive<AerMonitor.Act>(OnDeviceError);
        Receive<RecoveryActor.Question>(OnQuestion);
        Receive<NoVerdict>(_ => OnNoVerdict());
        Receive<RecoveryActor.Ended>(ended => EndRecovery(ended.Device));
        Receive<DeviceActor.Gone>(gone => OnDeviceGone(gone.Device));
        Receive<DeviceActor.Unsettled>(unsettled => OnErrorFromBefore(unsettled.Device, unsettled.Severity));
        Receive<TakeOver>(_ => OnTurn());
        Receive<LookAgain>(_ => OnLookAgain());
        Receive<LookedAgain>(looked => OnLookedAgain(looked.Observed));
        Receive<AnnounceAgain>(_ =>
        {
            // What is still being taken up is announced, as old, when it is complete.
            if (_announced.State != XenbusState.Unknown) Announce(isOld: true);
        });
        Receive<Changed>(_ => OnChanged());
        Receive<FrontendIsSilent>(_ => OnFrontendSilent());
        Receive<ClosedForLong>(_ => OnClosedForLong());
        Receive<Ended>(_ => OnEnded());
        Receive<ConnectionInput>(OnInput);
        Receive<AssignedDevice>(OnDeviceOpened);
        Receive<DeviceActor.Released>(OnReleased);
        Receive<EffectDone>(_ => OnEffectDone());
        Receive<ConnectAgain>(_ => PerformEffects());
        Receive<StoreFailed>(failed => OnStoreFailed(failed.Cause));
    }

    public ITimerScheduler Timers { get; set; } = null!;

    /// <param name="meter">What an actor before this one has counted for the same guest is in it.</param>
    /// <param name="lost">The device for which the guest has been crashed; null for a guest that runs.</param>
    /// <param name="errors">What an actor before this one was told of the guest's devices and has not seen through.</param>
    /// <param name="standsBy">Another daemon serves the guest, until <see cref="TakeOver"/>.</param>
    public static Props Props(
        BackendDirectory directory, XenStoreClient client, XenHost host, Quarantine quarantine, BackendSettings settings, GuestMeter meter, SlotCandidate? lost, ImmutableArray<AerMonitor.Act> errors, bool standsBy) =>
        Akka.Actor.Props.Create(() => new GuestActor(directory, client, host, quarantine, settings, meter, lost, errors, standsBy)).WithDispatcher(DataPlane.DispatcherId);

    protected override void PreStart() => OnChanged();

    protected override SupervisorStrategy SupervisorStrategy() => Supervision.OfDevices;

    protected override void PostStop()
    {
        // Nobody is left to take them.
        foreach (var opening in _opening)
            opening.ContinueWith(opened => opened.Result.Close(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        _page?.Unbind();
        _page?.Unmap();
        _ = _store.DisposeAsync().AsTask();
    }

    // ---- Control plane ----------------------------------------------------------------------------------------------------

    private void OnChanged()
    {
        if (_standsBy && (_inPass || IsPrepared))
        {
            Timers.StartSingleTimer(nameof(LookAgain), LookAgain.Instance, StandbyQuiet);
            return;
        }
        _again = true;
        if (_inPass) return;
        _inPass = true;
        // Effects that met a failing xenstore come first; the machine counts on them.
        if (_effects.Count > 0) PerformEffects();
        else Read();
    }

    private void OnFrontendSilent()
    {
        // A pass under way may be the answer that was missing; the timer starts again if it is not.
        if (_inPass || !_connection.AwaitsFrontend) return;
        if (_lost is null) _log.Warning("The frontend has not answered a change of its devices for {Patience} s; carried out without it", _settings.HotPlugPatience.TotalSeconds);
        _connection = _connection.Step(new ConnectionInput.FrontendSilent()).Next;
        OnChanged();
    }

    private void OnClosedForLong()
    {
        // At the end of the pass under way the timer is started again.
        if (_inPass || !_connection.AwaitsReopening) return;
        _inPass = true;
        OnInput(new ConnectionInput.Reopen());
    }

    private void OnEnded()
    {
        if (_standsBy) return;
        _connection = _connection.Step(new ConnectionInput.GuestEnded()).Next;
        OnChanged();
    }

    private void Read()
    {
        // One at a time; the one under way is followed by this one.
        if (_isLooking) return;
        _again = false;
        _store.ReadAsync().PipeTo(Self, success: observed => observed, failure: e => new StoreFailed(e));
    }

    private void OnInput(ConnectionInput input)
    {
        if (input is ConnectionInput.Observed observed)
        {
            if (IsForgotten(observed))
            {
                HoldOn();
                return;
            }
            if (!Verify(observed)) return;
            if (_standsBy) _preparedFor = observed;
            _directoryGone = observed.Backend?.State is null;
            _name = observed.Backend?.GuestName ?? _name;
        }
        var before = _connection;
        (_connection, var effects) = before.Step(input);
        if (effects.Length > 0 || _connection != before) _again = true;
        if (before.State == XenbusState.Unknown) _isTakenUp = _connection.IsOpening;
        if (!_standsBy && !_connection.IsOpening && (_connection.State, _connection.Slots) != _announced) Announce(isOld: _isTakenUp);
        foreach (var effect in effects) _effects.Enqueue(effect);
        PerformEffects();
    }

    private void PerformEffects()
    {
        while (_effects.TryPeek(out var effect))
        {
            if (_standsBy && !IsPreparation(effect)) return;
            switch (effect)
            {
                case ConnectionEffect.WriteNodes(var nodes):
                    AwaitStore(_store.WriteAsync(nodes));
                    return;
                case ConnectionEffect.RecordError(var errno, var text) error:
                    _log.Error("{Error}: {Text}", Errnos.Name(errno), text);
                    if (error.IsFrontends) Accuse(text);
                    AwaitStore(_store.RecordErrorAsync(errno, text));
                    return;
                case ConnectionEffect.OpenDevice(var device, _) open:
                    _effects.Dequeue();
                    if (device == _lost?.Bdf) OnInput(new ConnectionInput.DeviceOpened(_lost));
                    else Open(open);
                    return;
                case ConnectionEffect.ReleaseDevice(var device):
                    _effects.Dequeue();
                    _trace.Forget(device);
                    EndRecovery(device);
                    _meter.Take(device);
                    if (!_devices.Remove(device, out var actor)) continue;
                    actor.Tell(DeviceActor.Release.Instance);
                    return;
                case ConnectionEffect.Connect connect:
                    if (Connect(connect) is not { } connected) return;
                    _effects.Dequeue();
                    OnInput(connected);
                    return;
                case ConnectionEffect.Disconnect:
                    if (!BeginDisconnect()) return;
                    continue;
                case ConnectionEffect.Explain(var text):
                    _effects.Dequeue();
                    _log.Warning("{Directory} is left alone: {Text}", _directory.Path, text);
                    continue;
                default:
                    throw new InvalidOperationException($"effect {effect} is unknown");
            }
        }
        EndPass();
    }

    private void EndPass()
    {
        _inPass = false;
        if (_standsBy)
        {
            if (_directoryGone) Finish();
            return;
        }
        if (!_again) TakeEarlyErrors();
        if (_again) OnChanged();
        else if (_directoryGone) Finish();
        else if (_connection.AwaitsReopening && !Timers.IsTimerActive(nameof(ClosedForLong))) Timers.StartSingleTimer(nameof(ClosedForLong), ClosedForLong.Instance, ReopeningPause);
        else if (!_connection.AwaitsFrontend) Timers.Cancel(nameof(ConnectionInput.FrontendSilent));
        else if (_lost is not null) OnFrontendSilent();
        else if (!Timers.IsTimerActive(nameof(ConnectionInput.FrontendSilent)))
            Timers.StartSingleTimer(nameof(ConnectionInput.FrontendSilent), FrontendIsSilent.Instance, _settings.HotPlugPatience);
    }

    private void Finish()
    {
        Context.Parent.Tell(new Finished(_directory));
        Context.Stop(Self);
    }

    private void AwaitStore(Task done) => done.PipeTo(Self, success: () => new EffectDone(), failure: e => new StoreFailed(e));

    private void OnEffectDone()
    {
        _effects.Dequeue();
        PerformEffects();
    }

    /// <summary>xenstored has begun anew without what it had, and the guest still runs.</summary>
    private bool IsForgotten(ConnectionInput.Observed observed) =>
        observed.IsDomainUnknown && (_page is not null || _devices.Count > 0) && _host.Hypervisor.IsAlive(_directory.Guest);

    /// <summary>Nothing is changed until the guest is back in xenstore or gone.</summary>
    private void HoldOn()
    {
        if (!_isForgotten) _log.Error("xenstored has lost all it knew of this guest, which still runs; it keeps its devices and is served until it ends");
        _isForgotten = true;
        if (IsUnsure) Settle();
        _inPass = false;
        Timers.StartSingleTimer(nameof(Changed), Changed.Instance, _settings.StoreRetry);
    }

    private void OnStoreFailed(Exception cause)
    {
        _log.Warning("xenstore failed, trying again in {Pause} s: {Cause}", _settings.StoreRetry.TotalSeconds, cause.Message);
        _inPass = false;
        Timers.StartSingleTimer(nameof(Changed), Changed.Instance, _settings.StoreRetry);
    }

    private void Announce(bool isOld)
    {
        if (_connection.State != _announced.State)
        {
            if (_connection.State == XenbusState.Unknown) _log.Info("The guest has let go; was {Before}", _announced.State.ToString());
            else _log.Info("{State}", _connection.State.ToString());
        }
        _announced = (_connection.State, _connection.Slots);
        Context.System.EventStream.Publish(new BackendEvents.GuestChanged(_directory.Guest, _connection.State, _connection.Slots.Members)
        {
            IsOld = isOld, Name = _name, Topology = _connection.Slots.Topology,
        });
    }

    // ---- Effects ----------------------------------------------------------------------------------------------------------

    private void Open(ConnectionEffect.OpenDevice open)
    {
        var opening = Task.Run(() => AssignedDevice.Open(_host, _quarantine, _settings.Devices, _directory.Guest, open.Device, open.Permissive, open.IsTakenUp));
        _opening.Add(opening);
        opening.PipeTo(Self, success: opened => opened, failure: e => new ConnectionInput.DeviceRefused(open.Device, e.Message));
    }

    private void OnDeviceOpened(AssignedDevice device)
    {
        _opening.RemoveAll(opening => opening.IsFaulted || (opening.IsCompletedSuccessfully && opening.Result == device));
        var bdf = device.Bdf;
        var meter = _meter.Give(device);
        _devices[bdf] = meter.Actor = Context.ActorOf(DeviceActor.Props(device, meter), bdf.ToString());
        if (!_standsBy) _devices[bdf].Tell(DeviceActor.Begin.Instance);
        OnInput(new ConnectionInput.DeviceOpened(device.Candidate));
        if (!_standsBy && _connection.Slots.Members.FirstOrDefault(m => m.Host == bdf) is { Virtual: var place } && _devices.ContainsKey(bdf))
            _log.Info("{Bdf} given to the guest as {VirtualBdf}", bdf, place);
    }

    private void OnReleased(DeviceActor.Released released)
    {
        released.Log(_log);
        PerformEffects();
    }

    /// <returns>null: the daemon before this one is not quite gone, and it is tried again soon.</returns>
    private ConnectionInput? Connect(ConnectionEffect.Connect connect)
    {
        if (_lost is not null) return new ConnectionInput.Connected();
        var isTakenUp = _connection.State != XenbusState.Initialised;
        try
        {
            var self = Self;
            _page = GuestPage.Connect(_host, _directory.Guest, connect.Page, connect.Port,
                () =>
                {
                    _meter.Arrived();
                    self.Tell(PortEvent.Instance, ActorRefs.NoSender);
                }, TimeProvider.System);
        }
        catch (HostCallException e)
        {
            if (!isTakenUp || _connectsLeft-- == 0) return new ConnectionInput.ConnectRefused(e.Errno, e.Message);
            Timers.StartSingleTimer(nameof(ConnectAgain), ConnectAgain.Instance, ConnectPause);
            return null;
        }
        _log.Info("Page of grant {Grant} mapped, port {Port} bound", connect.Page, connect.Port);
        // Whoever served the guest before may have published an answer and not come to send its event.
        if (isTakenUp) _page.Notify();
        return new ConnectionInput.Connected();
    }

    /// <returns>false while a request is in hand: its answer continues the effects.</returns>
    private bool BeginDisconnect()
    {
        if (_page is not { } page)
        {
            _effects.Dequeue();
            return true;
        }
        if (!_disconnecting) page.Unbind();
        _disconnecting = true;
        if (page.IsBusy) return false;
        EndDisconnect(page);
        return true;
    }

    private void EndDisconnect(GuestPage page)
    {
        _effects.Dequeue();
        foreach (var device in _recoveries.Keys.ToList()) EndRecovery(device);
        page.Unmap();
        _page = null;
        _disconnecting = false;
        _log.Info("Page and port released");
    }
}
