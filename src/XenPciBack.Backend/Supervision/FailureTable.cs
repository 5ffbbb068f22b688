using Akka.Actor;
using Akka.Actor.Internal;

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// Who dies of what, in one place:
/// <code>
///   one config access                      -> its request is answered with an error; the device goes on
///   a guest breaks the protocol            -> that request is answered with an error, or its connection gets an
///                                             error node and Closing
///   a device is lost                       -> BackendSupervisor crashes its guest at once, then quarantines the
///     (an uncorrectable error, gone from      device, then tells GuestActor, which serves nothing any more and
///     the host, a recovery that failed)       releases the device; whichever step the daemon ends at, the next one
///                                             does the rest (CrashSequence)
///   a device does not answer               -> its guest waits and no other; it is named after a second, and another
///                                             thread leads the guest's event loop meanwhile
///   DeviceActor or GuestActor: a bug       -> GuestActor ends; BackendSupervisor starts another one, which adopts
///                                             the guest; after MostFailures within FailureWindow the guest is left
///                                             alone
///   AerMonitor: a bug                      -> it ends; BackendSupervisor starts another one, which the feed tells
///                                             what happened meanwhile
///   xenstore, the disk of the records      -> tried again; guests that are connected are served meanwhile
///   the whole daemon                       -> the next one adopts every guest
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
