using Akka.Actor;
using Akka.Event;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Actors;

/// <summary>
/// Takes one device of a guest through the recovery from an error. Its parent, the guest, has the page; a recovery that fails is a
/// device that is lost.
/// </summary>
internal sealed class RecoveryActor : ReceiveActor
{
    private readonly DomainId _guest;
    private readonly HostBdf _device;
    private readonly AerError _error;
    private readonly IActorRef _deviceActor;
    private readonly ILoggingAdapter _log;
    private AerRecovery _recovery;

    /// <summary>To the parent: ask the guest this, when the page is free; answered by a <see cref="RecoveryInput"/>.</summary>
    public sealed record Question(HostBdf Device, RecoveryEffect.Ask Ask);

    /// <summary>To the parent: the device works again.</summary>
    public sealed record Ended(HostBdf Device);

    public RecoveryActor(DomainId guest, HostBdf device, AerError error, IActorRef deviceActor)
    {
        (_guest, _device, _error, _deviceActor) = (guest, device, error, deviceActor);
        _log = Context.GetLogger().WithContext("Guest", guest.Value).WithContext("Device", device.ToString());
        (_recovery, var first) = AerRecovery.Begin(error.Severity);
        Receive<RecoveryInput>(input =>
        {
            if (input is RecoveryInput.Answered(var verdict)) _log.Info("{Step} answered {Verdict}", _recovery.Step, (AerVerdict)verdict);
            (_recovery, var effect) = _recovery.On(input);
            Perform(effect);
        });
        // The device met more of the same while it is being brought back; worse than before is the end of it.
        Receive<AerMonitor.Act>(act =>
        {
            if (act.Error.Severity > _error.Severity) Fail($"another error came during the recovery, {act.Error}");
        });
        Perform(first);
    }

    public static Props Props(DomainId guest, HostBdf device, AerError error, IActorRef deviceActor) =>
        Akka.Actor.Props.Create(() => new RecoveryActor(guest, device, error, deviceActor)).WithDispatcher(DataPlane.DispatcherId);

    private void Perform(RecoveryEffect effect)
    {
        switch (effect)
        {
            case RecoveryEffect.Ask ask:
                Context.Parent.Tell(new Question(_device, ask));
                break;
            case RecoveryEffect.RestoreDevice(var reset):
                _deviceActor.Tell(new DeviceActor.Restore(reset));
                break;
            case RecoveryEffect.Succeeded:
                _log.Warning("{Bdf} works again after an error, {Error}", _device, _error);
                Context.System.EventStream.Publish(new BackendEvents.DeviceRecovered(_guest, _device));
                Context.Parent.Tell(new Ended(_device));
                break;
            case RecoveryEffect.Failed(var reason):
                Fail(reason);
                break;
        }
    }

    private void Fail(string reason)
    {
        _deviceActor.Tell(new DeviceActor.Lose($"{_error}; {reason}"));
        Context.Stop(Self);
    }
}
