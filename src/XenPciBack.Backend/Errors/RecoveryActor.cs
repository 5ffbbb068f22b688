using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Backend.Errors;

/// <summary>
/// Takes one device of a guest through the recovery from an error. Its parent, the guest's actor, has the page. A
/// recovery that fails is a device that is lost.
/// </summary>
internal sealed class RecoveryActor : ReceiveActor
{
    private readonly AerMonitor.Act _error;
    private readonly IActorRef _deviceActor;
    private readonly ILoggingAdapter _log;
    private AerRecovery _recovery;

    /// <summary>To the parent: ask the guest this, when the page is free; answered by a <see cref="RecoveryInput"/>.</summary>
    public sealed record Question(HostBdf Device, RecoveryEffect.Ask Ask);

    /// <summary>To the parent: the device works again.</summary>
    public sealed record Ended(HostBdf Device);

    /// <summary>To the parent: the device is lost.</summary>
    public sealed record Failed(HostBdf Device, string Reason);

    public RecoveryActor(AerMonitor.Act error, IActorRef deviceActor)
    {
        (_error, _deviceActor) = (error, deviceActor);
        _log = Context.GetLogger().About(error.Guest).About(error.Device);
        (_recovery, var first) = AerRecovery.Begin(error.Severity);
        Receive<RecoveryInput>(input =>
        {
            if (input is RecoveryInput.Answered(var verdict))
                _log.As(LogEvents.RecoveryStep).Info("{Step} answered {Verdict}", _recovery.Step, (AerVerdict)verdict);
            (_recovery, var effect) = _recovery.On(input);
            Perform(effect);
        });
        // The device met more of the same while it is being brought back; worse than before is the end of it.
        Receive<AerMonitor.Act>(act =>
        {
            if (act.Severity > _error.Severity) Fail($"another error came during the recovery, {act.Error}");
        });
        Perform(first);
    }

    /// <param name="error">What the device has met.</param>
    public static Props Props(AerMonitor.Act error, IActorRef deviceActor) =>
        Akka.Actor.Props.Create(() => new RecoveryActor(error, deviceActor));

    private void Perform(RecoveryEffect effect)
    {
        switch (effect)
        {
            case RecoveryEffect.Ask ask:
                Context.Parent.Tell(new Question(_error.Device, ask));
                break;
            case RecoveryEffect.RestoreDevice(var reset):
                _deviceActor.Tell(new DeviceActor.Restore(reset));
                break;
            case RecoveryEffect.Succeeded:
                _log.As(LogEvents.DeviceRecovered)
                    .Warning("The device works again after an error, {Error}", _error.Error);
                Context.System.EventStream.Publish(new BackendEvents.DeviceRecovered(_error.Guest, _error.Device));
                Context.Parent.Tell(new Ended(_error.Device));
                break;
            case RecoveryEffect.Failed(var reason):
                Fail(reason);
                break;
        }
    }

    private void Fail(string reason)
    {
        Context.Parent.Tell(new Failed(_error.Device, $"{_error.Error}; {reason}"));
        Context.Stop(Self);
    }
}
