using Akka.Actor;
using Akka.Event;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Actors;

// Errors of the guest's devices, and the questions to its drivers that recoveries have.
internal sealed partial class GuestActor
{
    private readonly Dictionary<HostBdf, IActorRef> _recoveries = [];

    // What waits for its turn, and who has its question in the page.
    private readonly Queue<(IActorRef Asker, RecoveryActor.Question Question)> _questions = new();
    private IActorRef? _asker;

    private void OnDeviceError(AerMonitor.Act act)
    {
        if (_lost is not null || !_devices.TryGetValue(act.Device, out var device)) return;
        switch (act.Response)
        {
            case AerResponse.Kill:
                device.Tell(new DeviceActor.Lose(act.Error.ToString()));
                break;
            case AerResponse.RecoverThenKill when _page is not { TakesAer: true }:
                device.Tell(new DeviceActor.Lose($"{act.Error}; the guest has no error handling"));
                break;
            case AerResponse.RecoverThenKill:
                if (_recoveries.TryGetValue(act.Device, out var recovery)) recovery.Tell(act);
                else _recoveries[act.Device] = Context.ActorOf(RecoveryActor.Props(_directory.Guest, act.Device, act.Error, device));
                break;
            default:
                _log.Warning("{Bdf} goes on after an error, {Error}", act.Device, act.Error);
                break;
        }
    }

    /// <summary>The device is the guest's no more, so there is nothing to recover.</summary>
    private void EndRecovery(HostBdf device)
    {
        if (!_recoveries.Remove(device, out var recovery)) return;
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
