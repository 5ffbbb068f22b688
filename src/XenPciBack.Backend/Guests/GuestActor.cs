using System.Collections.Immutable;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Supervision;
using XenPciBack.Backend.Tracing;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Guests;

/// <summary>
/// Serves one guest: owns its page, its event channel and one <see cref="DeviceActor"/> for each of its devices.
/// <para>Control: a change in xenstore, both directories read, <see cref="GuestConnection.Step"/>, its effects performed one after
/// the other, read again until nothing is left to do.</para>
/// <para>Data: an event, the request copied out of the page, the device's answer, published, as long as there is
/// another request and the guest's turn lasts.</para>
/// </summary>
internal sealed partial class GuestActor : ReceiveActor, IWithTimers
{
    private readonly BackendDirectory _directory;
    private readonly XenHost _host;
    private readonly EventLoop _loop;
    private readonly Quarantine _quarantine;
    private readonly BackendSettings _settings;
    private readonly ConnectionStore _store;
    private readonly ILoggingAdapter _log;
    private readonly Dictionary<HostBdf, IActorRef> _devices = [];
    private readonly GuestTrace _trace;
    private readonly GuestMeter _meter;

    // The guest was crashed because of these devices: nothing is served any more, and the toolstack is not kept
    // waiting.
    private ImmutableHashSet<HostBdf> _lost;

    // Control plane
    private GuestConnection _connection;
    private (XenbusState State, VirtualSlots Slots) _announced;
    private bool _isTakenUp;
    private bool _inPass;
    private bool _again;
    private bool _directoryGone;
    private bool _isForgotten;
    private string? _name;

    // Mini-OS has seen by then that the backend has closed, and goes on; Linux's frontend finds it open when a driver is bound again.
    internal static readonly TimeSpan ReopeningPause = TimeSpan.FromSeconds(1);

    public GuestActor(
        BackendDirectory directory, XenStoreClient client, XenHost host, EventLoop loop, Quarantine quarantine,
        BackendSettings settings, GuestMeter meter, ImmutableHashSet<HostBdf> lost,
        ImmutableArray<AerMonitor.Act> errors, bool standsBy)
    {
        (_directory, _host, _loop, _quarantine, _settings, _meter, _lost, _standsBy) =
            (directory, host, loop, quarantine, settings, meter, lost, standsBy);
        _meter.ServedBy(Context);
        foreach (var error in errors) _early[error.Device] = error;
        _connection = new GuestConnection(directory.Guest, settings.Topologies);
        _announced = (_connection.State, _connection.Slots);
        _trace = new GuestTrace(directory.Guest, host.Clock);
        _log = Context.GetLogger().About(directory.Guest);
        var self = Self;
        _store = new ConnectionStore(client, directory, () => self.Tell(Changed.Instance, ActorRefs.NoSender));

        Receive<PortEvent>(_ => OnPortEvent());
        Receive<PciAnswer>(answer => OnAnswer(answer));
        Receive<DeviceActor.TracedAnswer>(traced => OnAnswer(traced.Answer, traced));
        Receive<TraceMessages.SinksAre>(now => _trace.SwitchTo(now.Sinks));
        Receive<AerMonitor.Act>(OnDeviceError);
        Receive<RecoveryActor.Question>(OnQuestion);
        Receive<NoVerdict>(_ => OnNoVerdict());
        Receive<RecoveryActor.Ended>(ended => EndRecovery(ended.Device));
        Receive<RecoveryActor.Failed>(failed => OnRecoveryFailed(failed));
        Receive<GuestLost>(lost => OnGuestLost(lost.Device));
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
        Receive<ConnectionInput.DeviceRefused>(OnDeviceRefused);
        Receive<ConnectionInput>(OnInput);
        Receive<AssignedDevice>(OnDeviceOpened);
        Receive<DeviceActor.Released>(OnReleased);
        Receive<EffectDone>(_ => OnEffectDone());
        Receive<ConnectAgain>(_ => PerformEffects());
        Receive<StoreFailed>(failed => OnStoreFailed(failed.Cause));
    }

    public ITimerScheduler Timers { get; set; } = null!;

    /// <param name="loop">Serves the guest; the actor leaves it at its end.</param>
    /// <param name="meter">What an actor before this one has counted for the same guest is in it.</param>
    /// <param name="lost">The devices for which the guest was crashed; none for a guest that runs.</param>
    /// <param name="errors">What an actor before this one was told of the guest's devices and has not seen through.</param>
    /// <param name="standsBy">Another daemon serves the guest, until <see cref="TakeOver"/>.</param>
    public static Props Props(
        BackendDirectory directory, XenStoreClient client, XenHost host, EventLoop loop, Quarantine quarantine,
        BackendSettings settings, GuestMeter meter, ImmutableHashSet<HostBdf> lost,
        ImmutableArray<AerMonitor.Act> errors, bool standsBy) =>
        Akka.Actor.Props.Create(() => new GuestActor(
                directory, client, host, loop, quarantine, settings, meter, lost, errors, standsBy))
            .WithDispatcher(loop.Dispatcher.Id);

    protected override void PreStart() => OnChanged();

    protected override SupervisorStrategy SupervisorStrategy() => FailureTable.OfDevices;

    protected override void PostStop()
    {
        // Nobody is left to take them.
        foreach (var opening in _opening)
            opening.ContinueWith(opened => opened.Result.Close(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        _page?.Unbind();
        _page?.Unmap();
        _loop.Leave();
        _ = _store.DisposeAsync().AsTask();
    }

    // ---- Control plane ----------------------------------------------------------------------------------------------

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
        if (_lost.IsEmpty)
            _log.Warning("The frontend has not answered a change of its devices for {Patience} s; carried out without it",
                _settings.HotPlugPatience.TotalSeconds);
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
        else if (!_lost.IsEmpty) OnFrontendSilent();
        else if (!Timers.IsTimerActive(nameof(ConnectionInput.FrontendSilent)))
            Timers.StartSingleTimer(nameof(ConnectionInput.FrontendSilent), FrontendIsSilent.Instance, _settings.HotPlugPatience);
    }

    private void Finish()
    {
        Context.Parent.Tell(new Finished(_directory));
        Context.Stop(Self);
    }

    /// <summary>xenstored has begun anew without what it had, and the guest still runs.</summary>
    private bool IsForgotten(ConnectionInput.Observed observed) =>
        observed.IsDomainUnknown && (_page is not null || _devices.Count > 0) && _host.Hypervisor.IsAlive(_directory.Guest);

    /// <summary>Nothing is changed until the guest is back in xenstore or gone.</summary>
    private void HoldOn()
    {
        if (!_isForgotten)
            _log.As(LogEvents.GuestForgotten).Error("xenstored has lost all it knew of this guest, which still runs; "
                + "it keeps its devices and is served until it ends");
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
            if (_connection.State == XenbusState.Unknown)
                _log.As(LogEvents.Disconnected).Info("Disconnected (was {Before})", _announced.State.ToString());
            else if (_connection.State == XenbusState.Connected) _log.As(LogEvents.Connected).Info("Connected");
            else _log.Info("{State}", _connection.State.ToString());
        }
        _announced = (_connection.State, _connection.Slots);
        Context.System.EventStream.Publish(new BackendEvents.GuestChanged(_directory.Guest, _connection.State, _connection.Slots.Members)
        {
            IsOld = isOld, Name = _name, Topology = _connection.Slots.Topology,
        });
    }
}
