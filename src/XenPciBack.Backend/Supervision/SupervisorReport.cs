using System.Globalization;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using DeviceOfGuest = XenPciBack.Backend.BackendEvents.DeviceOfGuest;

namespace XenPciBack.Backend.Supervision;

/// <summary>Says what the supervisor does: in the log, and to whoever watches the backend.</summary>
/// <param name="supervisor">The supervisor's context.</param>
internal sealed class SupervisorReport(IActorContext supervisor)
{
    private readonly ILoggingAdapter _log = supervisor.GetLogger();
    private readonly EventStream _events = supervisor.System.EventStream;
    private readonly IActorRef _self = supervisor.Self;

    public static string PathOf(IActorRef actor) => actor.Path.ToStringWithoutAddress();

    /// <param name="version">The hypervisor's; null: this daemon stands by.</param>
    public void Ready(string? version, DomainId domain, int guests)
    {
        if (version is null) _log.Info("{Guests} guests of another daemon could be taken over", guests);
        else
            _log.As(LogEvents.Ready).Info("xenpciback is ready: Xen {XenVersion}, watching {Root}, {Guests} guests",
                version, BackendDirectory.RootOf(domain), guests);
        _events.Publish(BackendEvents.Ready.Instance);
    }

    /// <param name="served">How many guests are served by now.</param>
    public void Say(LedgerEffect.Say said, Role role, int served)
    {
        switch (said)
        {
            case LedgerEffect.SayLeftToKernel(var directory):
                LeftToKernel(directory.Guest);
                break;
            case LedgerEffect.SayReplaced(var directory, var fault):
                Replaced(directory, fault);
                break;
            case LedgerEffect.SayAbandoned(var directory, var fault):
                Abandoned(directory, fault, served);
                break;
            case LedgerEffect.SayGone(var directory):
                Gone(directory.Guest, role, served);
                break;
            case LedgerEffect.SayQuarantined(var device, var tries, var fault):
                Quarantined(device, tries, fault);
                break;
            case LedgerEffect.SayDetached(var device, var fault):
                Detached(device, fault);
                break;
            case LedgerEffect.SayForgotten(var device):
                Forgotten(device);
                break;
            case LedgerEffect.SayTakenBack(var device, var released, var fault):
                TakenBack(device, released, fault);
                break;
        }
    }

    // ---- Directories and actors -------------------------------------------------------------------------------------

    public void Removed(BackendDirectory stale) =>
        _log.Info("{Directory} removed: its domain is gone and the toolstack left it behind", stale.Path);

    public void ListingFailed(XenStorePath root, TimeSpan pause, Exception cause) =>
        _log.Warning("Cannot list {Root}, trying again in {Pause} s: {Cause}", root, pause.TotalSeconds, cause.Message);

    public void EndsUnknown(string fault) => _log.Warning(
        "Whether a guest has ended is not known, so the toolstack may wait for it in vain: {Fault}", fault);

    private void LeftToKernel(DomainId guest) => _log.As(LogEvents.LeftToKernel).About(guest)
        .Warning("The guest is served by the kernel's xen-pciback and left to it; "
            + "to serve it here: xenpciback take {DomId}", guest);

    public void Failed(Exception cause) => _log.Error(cause, "An actor has failed");

    private void Replaced(BackendDirectory directory, string fault)
    {
        _log.As(LogEvents.GuestActorReplaced).About(directory.Guest)
            .Error("The guest's actor failed; another one adopts the guest");
        _events.Publish(new BackendEvents.ActorReplaced(nameof(GuestActor), directory.Guest, fault,
            [FailedPath(directory, fault), Did("starts another one, which takes the guest up where it is")]));
    }

    private void Abandoned(BackendDirectory directory, string fault, int left)
    {
        _events.Publish(new BackendEvents.GuestAbandoned(
            directory.Guest, fault, [FailedPath(directory, fault), Did("leaves the guest alone")]));
        _log.As(LogEvents.GuestAbandoned).About(directory.Guest)
            .Error("The guest is no longer served: its actor has failed {Times} times; {Guests} left",
                FailureTable.MostFailures, left);
        _events.Publish(new BackendEvents.GuestGone(directory.Guest));
    }

    private void Gone(DomainId guest, Role role, int left)
    {
        if (role == Role.Serving)
            _log.As(LogEvents.GuestGone).About(guest).Info("The guest is gone; {Guests} left", left);
        _events.Publish(new BackendEvents.GuestGone(guest));
    }

    public void MonitorReplaced(IActorRef monitor, string fault) => _events.Publish(new BackendEvents.ActorReplaced(
        nameof(AerMonitor), null, fault,
        [$"{PathOf(monitor)} {nameof(AerMonitor)}: fails, {fault}", Did("starts another one")]));

    // ---- Errors of devices ------------------------------------------------------------------------------------------

    public void Crashed(CrashSequence.Crashed crashed)
    {
        var (loss, origin, fault, took) = crashed;
        var log = _log.About(loss.Guest).About(loss.Device);
        if (fault is null)
            log.As(LogEvents.GuestCrashed)
                .Error("The guest was crashed in {Took:0.0} ms, because its device is lost: {Reason}",
                    took.TotalMilliseconds, loss.Reason);
        else
            log.As(LogEvents.GuestNotCrashed)
                .Error("The guest cannot be crashed ({Fault}) and goes on without the device, which is lost: {Reason}",
                    fault, loss.Reason);
        var done = fault is null
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"crashed the guest through the hypervisor in {took.TotalMilliseconds:0.0} ms")
            : $"could not crash the guest: {fault}";
        _events.Publish(new BackendEvents.GuestKilled(loss.Guest, loss.Device, loss.Reason)
        {
            Fault = fault, Path = [origin, Did(done)],
        });
    }

    public void IntentFailed(CrashSequence.IntentFailed failed) =>
        _log.About(failed.Loss.Guest).About(failed.Loss.Device)
        .Warning("What is to be done about the lost device cannot be {What}: {Fault}", failed.What, failed.Fault);

    /// <param name="tries">How often it was tried.</param>
    private void Quarantined(HostBdf device, int tries, string? fault)
    {
        var log = _log.As(LogEvents.DeviceQuarantined).About(device);
        if (fault is null)
            log.Warning(
                "The device is in quarantine; no guest gets it until: xenpciback quarantine clear {Bdf}", device);
        else if (tries == 1)
            log.Error("The device is in quarantine for as long as this daemon runs: "
                + "that cannot be put on record, trying on: {Fault}", fault);
    }

    public void LossNotSaid(DomainId guest, TimeSpan pause, string fault) => _log.About(guest).Warning(
        "The loss of a device cannot be written to xenstore, trying again in {Pause} s: {Fault}", pause.TotalSeconds,
            fault);

    private void Detached(DeviceOfGuest device, string? fault)
    {
        var log = _log.About(device.Guest).About(device.Device);
        if (fault is null) log.As(LogEvents.DeviceDetached).Warning("Detached; the guest goes on without the device");
        else log.As(LogEvents.DeviceNotDetached).Error("The device cannot be detached: {Fault}", fault);
    }

    // ---- Devices without a guest ------------------------------------------------------------------------------------

    private void Forgotten(DeviceOfGuest device) =>
        _log.As(LogEvents.GuestForgotten).About(device.Guest).About(device.Device)
        .Error("The guest still runs and has the device, but xenstored does not know it any more: "
            + "it cannot be served, and keeps its devices until it ends");

    private void TakenBack(DeviceOfGuest device, DeviceActor.Released? released, string? fault)
    {
        var log = _log.About(device.Guest).About(device.Device);
        if (fault is null)
            log.As(LogEvents.DeviceTakenBack).Info("Taken back from the guest, which ended while nobody served it");
        else log.Error("The device cannot be taken back from the guest, which is gone: {Fault}", fault);
        released?.Log(_log);
    }

    private string Did(string what) => $"{PathOf(_self)} {nameof(BackendSupervisor)}: {what}";

    private string FailedPath(BackendDirectory directory, string fault) =>
        $"{PathOf(_self)}/{directory.ActorName} {nameof(GuestActor)}: fails, {fault}";
}
