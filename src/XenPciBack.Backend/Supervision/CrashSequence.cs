using System.Diagnostics;
using XenPciBack.Backend.Errors;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// What is done about a lost device, one step after the other:
/// <code>
///   intent on record below /run, unless that takes more than 10 ms or fails
///   guest crashed                                       -> Crashed
///   quarantine on record below /var/lib, intent removed -> LedgerInput.Tried
/// </code>
/// Whichever step the daemon ends at, the next one finds the intent and does the same. Each loss has a thread of its
/// own: neither a device access that hangs nor a full thread pool delays it.
/// </summary>
/// <param name="report">Gets each of these messages, and those below.</param>
internal sealed class CrashSequence(XenHost host, Quarantine quarantine, Action<object> report)
{
    /// <summary>A record below /run takes a tenth of a millisecond. The guest does not run on while a broken one is
    /// tried.</summary>
    private static readonly TimeSpan IntentPatience = TimeSpan.FromMilliseconds(10);

    /// <param name="Fault">null: it was crashed, or it is gone.</param>
    public sealed record Crashed(Loss Loss, string Origin, string? Fault, TimeSpan Took);

    /// <summary>The intent is not on record, or is still on record although all of it was done.</summary>
    public sealed record IntentFailed(Loss Loss, string What, string Fault);

    public void Begin(LedgerEffect.Try attempt) => OnThreadOfItsOwn(() => Run(attempt));

    private void Run(LedgerEffect.Try attempt)
    {
        var (loss, remedy, origin, _) = attempt;
        var intent = remedy == Remedy.Quarantine ? Task.CompletedTask : OnThreadOfItsOwn(() =>
            Try(() => host.Intents.Write(loss.Name, loss.ToText()), loss, "put on record"));
        if (!intent.Wait(IntentPatience))
            report(new IntentFailed(
                loss, "put on record", $"it takes more than {IntentPatience.TotalMilliseconds} ms"));
        if (remedy == Remedy.Crash)
        {
            var began = Stopwatch.GetTimestamp();
            var fault = FaultOf(() => Crash(loss.Guest));
            report(new Crashed(loss, origin, fault, Stopwatch.GetElapsedTime(began)));
        }
        var notRecorded = FaultOf(() => quarantine.Record(loss.Quarantined));
        var isIntentLate = !intent.IsCompleted;
        // Nobody waits for a record below /run that hangs; what is on record in the end is removed.
        if (notRecorded is not null || isIntentLate) report(new LedgerInput.Tried(attempt, notRecorded));
        if (notRecorded is not null) return;
        intent.Wait();
        if (remedy != Remedy.Quarantine) Try(() => host.Intents.Remove(loss.Name), loss, "removed");
        if (!isIntentLate) report(new LedgerInput.Tried(attempt, null));
    }

    private void Crash(DomainId guest)
    {
        if (host.Hypervisor.Crash(guest) is not (0 or Errnos.ESRCH) and var errno)
            throw new IOException(Errnos.Name(errno));
    }

    private void Try(Action step, Loss loss, string what)
    {
        if (FaultOf(step) is { } fault) report(new IntentFailed(loss, what, fault));
    }

    // Whatever a step fails with, those after it are made.
    private static string? FaultOf(Action step)
    {
        try
        {
            step();
            return null;
        }
        catch (Exception e)
        {
            return e.Message;
        }
    }

    private static Task OnThreadOfItsOwn(Action work) => Task.Factory.StartNew(
        work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
