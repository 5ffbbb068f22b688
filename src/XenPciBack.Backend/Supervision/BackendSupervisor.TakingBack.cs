using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Supervision;

// Devices of guests that ended while no daemon served them.
internal sealed partial class BackendSupervisor
{
    // Devices of guests that ended without their daemon, which are being given back.
    private readonly HashSet<(DomainId Guest, HostBdf Device)> _takingBack = [];

    // Guests that xenstored has lost, and that run without a backend.
    private readonly HashSet<DomainId> _forgotten = [];

    private sealed record TakenBack(DomainId Guest, HostBdf Device, DeviceActor.Released? Released, string? Fault);

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
            if (_forgotten.Add(guest))
                _log.As(LogEvents.GuestForgotten).About(guest).About(function)
                    .Error("The guest still runs and has the device, but xenstored does not know it any more: "
                        + "it cannot be served, and keeps its devices until it ends");
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
        var log = _log.About(back.Guest).About(back.Device);
        if (back.Fault is null)
            log.As(LogEvents.DeviceTakenBack).Info("Taken back from the guest, which ended while nobody served it");
        else log.Error("The device cannot be taken back from the guest, which is gone: {Fault}", back.Fault);
        back.Released?.Log(_log);
    }
}
