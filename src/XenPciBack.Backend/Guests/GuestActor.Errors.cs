using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Guests;

// Errors of the guest's devices, and the questions to its drivers that recoveries have.
internal sealed partial class GuestActor
{
    private readonly Dictionary<HostBdf, IActorRef> _recoveries = [];

    // Of devices that are being opened, or of a guest whose page is not mapped yet; the worst of each device.
    private readonly Dictionary<HostBdf, AerMonitor.Act> _early = [];

    // What waits for its turn, and who has its question in the page.
    private readonly Queue<(IActorRef Asker, RecoveryActor.Question Question)> _questions = new();
    private IActorRef? _asker;

    private void OnDeviceError(AerMonitor.Act act)
    {
        if (!_lost.IsEmpty) return;
        var isOpen = _devices.TryGetValue(act.Device, out var device);
        if ((!isOpen || (act.Response == AerResponse.RecoverThenKill && _page is null)) && (_inPass || _connection.State == XenbusState.Unknown))
        {
            if (!_early.TryGetValue(act.Device, out var before) || before.Severity < act.Severity) _early[act.Device] = act;
            return;
        }
        if (device is null)
        {
            Context.Parent.Tell(new ErrorSettled(act.Guest, act.Device));
            return;
        }
        switch (act.Response)
        {
            case AerResponse.RecoverThenKill when _page is not { TakesAer: true }:
                Context.Parent.Tell(
                    new DeviceLost(act.Guest, act.Device, $"{act.Error}; the guest has no error handling"));
                break;
            case AerResponse.RecoverThenKill:
                device.Tell(new DeviceActor.Remember(act.Severity));
                if (_recoveries.TryGetValue(act.Device, out var recovery)) recovery.Tell(act);
                else BeginRecovery(act, device);
                break;
            default:
                _log.Warning("{Bdf} goes on after an error, {Error}", act.Device, act.Error);
                break;
        }
    }

    private void BeginRecovery(AerMonitor.Act act, IActorRef device)
    {
        _recoveries[act.Device] = Context.ActorOf(RecoveryActor.Props(act, device));
        if (_meter.Find(act.Device) is { } meter) meter.IsRecovering = true;
    }

    private void OnRecoveryFailed(RecoveryActor.Failed failed) =>
        Context.Parent.Tell(new DeviceLost(_directory.Guest, failed.Device, failed.Reason));

    private void OnGuestLost(HostBdf device)
    {
        if (_lost.IsEmpty) StopServing();
        _lost = _lost.Add(device);
        Release(device);
        if (!_inPass && _connection.AwaitsFrontend) OnFrontendSilent();
    }

    /// <summary>No request is answered any more, not even the one in hand.</summary>
    private void StopServing()
    {
        foreach (var device in _recoveries.Keys.ToList()) EndRecovery(device);
        var awaitedAnswer = _disconnecting;
        if (!_disconnecting) _page?.Unbind();
        _page?.Unmap();
        (_page, _disconnecting) = (null, false);
        if (awaitedAnswer) PerformEffects();
    }

    /// <summary>The connection is what it is to be; errors that came before can be seen to.</summary>
    private void TakeEarlyErrors()
    {
        if (_connection.State == XenbusState.Unknown) return;
        foreach (var act in _early.Values) Self.Tell(act);
        _early.Clear();
    }

    /// <summary>The daemon before this one did not live to see the guest over it.</summary>
    private void OnErrorFromBefore(HostBdf device, AerSeverity severity) =>
        Context.Parent.Tell(new AerMonitor.Act(_directory.Guest, device, severity, $"{severity.ToText()}, met before this daemon was started", _settings.Aer.Of(device)));

    private void OnDeviceGone(HostBdf device)
    {
        // There is nothing to recover.
        var response = _settings.Aer.Of(device) is var usual && usual == AerResponse.RecoverThenKill ? AerResponse.Kill : usual;
        Context.Parent.Tell(new AerMonitor.Act(_directory.Guest, device, AerSeverity.Fatal, "it has gone from the host", response));
    }

    /// <summary>The device is the guest's no more, so there is nothing to recover.</summary>
    private void EndRecovery(HostBdf device)
    {
        Context.Parent.Tell(new ErrorSettled(_directory.Guest, device));
        if (_devices.TryGetValue(device, out var actor)) actor.Tell(new DeviceActor.Remember(null));
        if (!_recoveries.Remove(device, out var recovery)) return;
        if (_meter.Find(device) is { } meter) meter.IsRecovering = false;
        Context.Stop(recovery);
        for (var waiting = _questions.Count; waiting > 0; waiting--)
            if (_questions.Dequeue() is var question && !question.Asker.Equals(recovery))
                _questions.Enqueue(question);
        if (recovery.Equals(_asker)) OnNoVerdict();
    }

    private void OnQuestion(RecoveryActor.Question question)
    {
        _questions.Enqueue((Sender, question));
        AskNext();
    }

    // The page has room for one question.
    private void AskNext()
    {
        if (_asker is not null || _page is not { } page || !_questions.TryDequeue(out var next)) return;
        _asker = next.Asker;
        var place = _connection.Slots.Members.First(member => member.Host == next.Question.Device).Virtual;
        page.AskAer(next.Question.Ask.Step, next.Question.Ask.Channel, place);
        Timers.StartSingleTimer(nameof(RecoveryInput.Silent), NoVerdict.Instance, _settings.Aer.StepPatience);
    }

    private void OnVerdict(RecoveryInput verdict)
    {
        Timers.Cancel(nameof(RecoveryInput.Silent));
        _asker?.Tell(verdict);
        _asker = null;
        AskNext();
    }

    private void OnNoVerdict()
    {
        _page?.WithdrawAer();
        OnVerdict(new RecoveryInput.Silent());
    }
}
