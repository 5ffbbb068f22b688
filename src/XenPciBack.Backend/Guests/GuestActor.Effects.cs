using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Guests;

// What the connection's steps ask for, performed one after the other: nodes, devices, page and port.
internal sealed partial class GuestActor
{
    private readonly Queue<ConnectionEffect> _effects = new();
    private readonly List<Task<AssignedDevice>> _opening = [];

    // The device whose release the effects wait for.
    private HostBdf? _releasing;

    // The kernel takes the ports of a process from it one after the other, and its locks somewhere in between. A thread
    // that is inside a device access keeps them until that returns: for a minute, if a device is being reset and does
    // not answer.
    private static readonly TimeSpan
        ConnectPause = TimeSpan.FromMilliseconds(10), LongConnectPause = TimeSpan.FromSeconds(1),
        ConnectPatience = TimeSpan.FromMinutes(2);

    // Since when the daemon before this one has been in the way; null: it is not.
    private long? _connectingSince;

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
                    _log.As(LogEvents.Refused).Error("{Error}: {Text}", Errnos.Name(errno), text);
                    if (error.IsFrontends) Accuse(text);
                    AwaitStore(_store.RecordErrorAsync(errno, text));
                    return;
                case ConnectionEffect.OpenDevice(var device, _) open:
                    _effects.Dequeue();
                    if (_lost.Contains(device)) OnInput(WithoutDevice(device));
                    else Open(open);
                    return;
                case ConnectionEffect.ReleaseDevice(var device):
                    _effects.Dequeue();
                    if (!Release(device)) continue;
                    _releasing = device;
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

    private void AwaitStore(Task done) => done.PipeTo(Self, success: () => new EffectDone(), failure: e => new StoreFailed(e));

    private void OnEffectDone()
    {
        _effects.Dequeue();
        PerformEffects();
    }

    private void Open(ConnectionEffect.OpenDevice open)
    {
        var opening = Task.Run(async () =>
        {
            if (!open.IsTakenUp) await _quarantine.WhenComplete.ConfigureAwait(false);
            return AssignedDevice.Open(
                _host, _quarantine, _settings.Devices, _directory.Guest, open.Device, open.Permissive, open.IsTakenUp);
        });
        _opening.Add(opening);
        opening.PipeTo(Self, success: opened => opened, failure: e => new ConnectionInput.DeviceRefused(open.Device, e.Message));
    }

    private void OnDeviceOpened(AssignedDevice device)
    {
        _opening.RemoveAll(opening => opening.IsFaulted || (opening.IsCompletedSuccessfully && opening.Result == device));
        var bdf = device.Bdf;
        var meter = _meter.Give(device);
        _devices[bdf] = meter.Actor = Context.ActorOf(
            DeviceActor.Props(device, meter).WithDispatcher(_loop.Dispatcher.Id), bdf.ToString());
        if (!_standsBy) _devices[bdf].Tell(DeviceActor.Begin.Instance);
        OnInput(new ConnectionInput.DeviceOpened(device.Candidate));
        if (!_standsBy && _connection.Slots.Members.FirstOrDefault(m => m.Host == bdf) is { Virtual: var place } && _devices.ContainsKey(bdf))
            _log.As(LogEvents.DeviceGiven).About(bdf).Info("Given to the guest as {VirtualBdf}", place);
        if (_lost.Contains(bdf)) Release(bdf);
    }

    // The toolstack takes the device from its dead guest as if the guest had it.
    private void OnDeviceRefused(ConnectionInput.DeviceRefused refused) =>
        OnInput(_lost.Contains(refused.Device) ? WithoutDevice(refused.Device) : refused);

    private static ConnectionInput.DeviceOpened WithoutDevice(HostBdf device) =>
        new(new SlotCandidate(device, IsVirtualFunction: false, []));

    /// <returns>false: it is not open.</returns>
    private bool Release(HostBdf device)
    {
        _trace.Forget(device);
        EndRecovery(device);
        _meter.Take(device);
        if (!_devices.Remove(device, out var actor)) return false;
        actor.Tell(DeviceActor.Release.Instance);
        return true;
    }

    private void OnReleased(DeviceActor.Released released)
    {
        released.Log(_log);
        if (released.Device != _releasing) return;
        _releasing = null;
        PerformEffects();
    }

    /// <returns>null: the daemon before this one is not quite gone, and it is tried again soon.</returns>
    private ConnectionInput? Connect(ConnectionEffect.Connect connect)
    {
        if (!_lost.IsEmpty) return new ConnectionInput.Connected();
        var isTakenUp = _connection.State != XenbusState.Initialised;
        try
        {
            var self = Self;
            void OnEvent()
            {
                _meter.Arrived();
                self.Tell(PortEvent.Instance, ActorRefs.NoSender);
            }
            _page = GuestPage.Connect(
                () => _loop.Bind(_directory.Guest, connect.Port, OnEvent),
                () => _host.Grants.Map(_directory.Guest, connect.Page), _host.Clock);
        }
        catch (HostCallException e)
        {
            _connectingSince ??= _host.Clock.GetTimestamp();
            var tried = _host.Clock.GetElapsedTime(_connectingSince.Value);
            if (!isTakenUp || tried > ConnectPatience) return new ConnectionInput.ConnectRefused(e.Errno, e.Message);
            var pause = tried < LongConnectPause ? ConnectPause : LongConnectPause;
            Timers.StartSingleTimer(nameof(ConnectAgain), ConnectAgain.Instance, pause);
            return null;
        }
        _log.As(LogEvents.PageMapped)
            .Info("Page of grant {Grant} mapped, port {Port} bound", connect.Page, connect.Port);
        _connectingSince = null;
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
        _log.As(LogEvents.PageReleased).Info("Page and port released");
    }
}
