using Akka.Actor;
using Akka.Actor.Internal;

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// Who dies of what, in one place:
/// <code>
///   one config access                      -> its request is answered with an error; the device goes on
///   a guest breaks the protocol            -> that request is answered with an error, or its connection gets an error node and Closing
///   a device is lost                       -> BackendSupervisor crashes its guest at once, then quarantines the device, then
///     (an uncorrectable error, gone from      tells GuestActor, which serves nothing any more and releases the device; whichever
///     the host, a recovery that failed)       step the daemon ends at, the next one does the rest (CrashSequence)
///   DeviceActor or GuestActor: a bug       -> GuestActor ends          -> BackendSupervisor starts another one, which takes the guest up
///                                             where it is; after MostFailures within FailureWindow the guest is left alone
///   AerMonitor: a bug                      -> it ends                  -> BackendSupervisor starts another one; the feed tells that one
///                                             what happened meanwhile
///   xenstore, the disk of the records      -> tried again; guests that are connected are served meanwhile
///   the whole daemon                       -> the next one takes up every guest
/// </code>
/// No other guest is touched by any of it. SupervisionTests tries each row in every state a guest can be in.
/// </summary>
internal static class FailureTable
{
    /// <summary>A guest whose actor fails this often within <see cref="FailureWindow"/> would only make it fail again.</summary>
    public const int MostFailures = 3;

    public static readonly TimeSpan FailureWindow = TimeSpan.FromMinutes(1);

    /// <summary>Used by a guest for its devices: a device does not fail alone.</summary>
    public static readonly SupervisorStrategy OfDevices = new OneForOneStrategy(_ => Directive.Escalate);

    /// <summary>
    /// Used by the supervisor for its children. A guest's actor is stopped, never restarted in place: what was on its way to the one
    /// that failed must not reach the next.
    /// </summary>
    /// <param name="onFailure">Told which child fails and why, before it has ended; the log is left to it.</param>
    public static SupervisorStrategy OfGuests(Action<IActorRef, Exception> onFailure) => new Stopping(onFailure);

    private sealed class Stopping(Action<IActorRef, Exception> onFailure) : OneForOneStrategy(
        maxNrOfRetries: -1, withinTimeMilliseconds: Timeout.Infinite, _ => Directive.Stop, loggingEnabled: false)
    {
        public override void ProcessFailure(
            IActorContext context, bool restart, IActorRef child, Exception cause, ChildRestartStats stats,
            IReadOnlyCollection<ChildRestartStats> children)
        {
            onFailure(child, cause);
            base.ProcessFailure(context, restart, child, cause, stats, children);
        }
    }
}
