using System.Diagnostics;
using System.Globalization;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Backend.Supervision;

// Errors of devices: who hears of them, the quarantine, and the end of a guest whose device is lost.
internal sealed partial class BackendSupervisor
{
    // Guests that have been crashed, by the device that was lost, until their directories are gone.
    private readonly Dictionary<DomainId, SlotCandidate> _lost = [];

    // Guests whose actor is ending because of such a loss, which is no failure of it.
    private readonly HashSet<DomainId> _endingWithDevice = [];

    // Devices put into quarantine while their guests are still there.
    private readonly HashSet<(DomainId Guest, HostBdf Device)> _setAside = [];

    // What guests were told of their devices and have not seen through yet: the next actor of a guest whose actor fails hears of it again.
    private readonly Dictionary<(DomainId Guest, HostBdf Device), AerMonitor.Act> _unsettled = [];

    private IActorRef? _aerMonitor;

    private sealed record StartMonitor
    {
        public static readonly StartMonitor Instance = new();
    }

    private sealed record GuestLost(DeviceLostException Cause, string Actor);
    private sealed record GuestCrashed(DeviceLostException Cause, string Actor, string? Fault, TimeSpan Took);
    private sealed record RecordLoss(BackendDirectory Directory, string Text);
    private sealed record LossNotRecorded(RecordLoss Loss, string Fault);
    private sealed record DetachEnded(DomainId Guest, HostBdf Device, string? Fault);
    private sealed record Quarantined(QuarantinedDevice Device, string? Fault, bool IsFirstTry);
    private sealed record RecordAgain(QuarantinedDevice Device);

    private void OnMonitorEnded(Terminated monitor)
    {
        _faults.Remove(monitor.ActorRef, out var fault);
        Context.System.EventStream.Publish(new BackendEvents.ActorReplaced(nameof(AerMonitor), null, fault ?? "", [$"{Text(monitor.ActorRef)} {nameof(AerMonitor)}: fails, {fault}", Did("starts another one")]));
        Timers.StartSingleTimer(nameof(StartMonitor), StartMonitor.Instance, _settings.StoreRetry);
    }

    private void StartAerMonitor() => _aerMonitor = Context.Watch(Context.ActorOf(AerMonitor.Props(_host, _settings.Aer), "aer"));

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
        var log = _log.About(ended.Guest).About(ended.Device);
        if (ended.Fault is null)
            log.As(LogEvents.DeviceDetached).Warning("Detached; the guest goes on without the device");
        else log.As(LogEvents.DeviceNotDetached).Error("The device cannot be detached: {Fault}", ended.Fault);
    }

    /// <returns>false if that has been done already.</returns>
    private bool SetAside(DomainId guest, HostBdf device, string reason)
    {
        if (!_setAside.Add((guest, device))) return false;
        var quarantined = new QuarantinedDevice(device, guest, _host.Clock.GetUtcNow(), reason);
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
            _log.As(LogEvents.DeviceQuarantined).About(device.Device)
                .Warning("The device is in quarantine; no guest gets it until: xenpciback quarantine clear {Bdf}",
                    device.Device);
            return;
        }
        if (quarantined.IsFirstTry)
            _log.As(LogEvents.DeviceQuarantined).About(device.Device)
                .Error("The device is in quarantine for as long as this daemon runs: "
                    + "that cannot be put on record, trying on: {Fault}", quarantined.Fault);
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
        var log = _log.About(cause.Guest).About(cause.Device.Bdf);
        if (fault is null)
            log.As(LogEvents.GuestCrashed)
                .Error("The guest was crashed in {Took:0.0} ms, because its device is lost: {Reason}",
                    took.TotalMilliseconds, cause.Reason);
        else
            log.As(LogEvents.GuestNotCrashed)
                .Error("The guest cannot be crashed ({Fault}) and goes on without the device, which is lost: {Reason}",
                    fault, cause.Reason);
        Context.System.EventStream.Publish(new BackendEvents.GuestKilled(cause.Guest, cause.Device.Bdf, cause.Reason)
        {
            Fault = fault,
            Path =
            [
                $"{actor}/{cause.Device.Bdf} {nameof(DeviceActor)}: its device is lost, {cause.Reason}", $"{actor} {nameof(GuestActor)}: fails with its device",
                Did(fault is null ? string.Create(CultureInfo.InvariantCulture, $"crashed the guest through the hypervisor in {took.TotalMilliseconds:0.0} ms") : $"could not crash the guest: {fault}"),
            ],
        });
    }

    private void Write(RecordLoss loss) => _directories.RecordLossAsync(loss.Directory, loss.Text).PipeTo(Self, failure: e => new LossNotRecorded(loss, e.Message));

    private void OnLossNotRecorded(LossNotRecorded failed)
    {
        if (!_lost.ContainsKey(failed.Loss.Directory.Guest)) return;
        _log.About(failed.Loss.Directory.Guest)
            .Warning("The loss of a device cannot be written to xenstore, trying again in {Pause} s: {Fault}",
                _settings.StoreRetry.TotalSeconds, failed.Fault);
        Timers.StartSingleTimer(failed.Loss, failed.Loss, _settings.StoreRetry);
    }
}
