using Akka.Actor;

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// Who dies of what, in one place:
/// <code>
///   one config access                      -> its request is answered with an error; the device goes on
///   a guest breaks the protocol            -> that request is answered with an error, or its connection gets an error node and Closing
///   DeviceActor: its device is lost        -> GuestActor fails with it -> BackendSupervisor crashes that guest and quarantines the device
///     (an uncorrectable error, gone from the host, a recovery that failed)
///   DeviceActor or GuestActor: a bug       -> GuestActor ends          -> BackendSupervisor starts another one, which takes the guest up
///                                             where it is; after MostFailures within FailureWindow the guest is left alone
///   AerMonitor: a bug                      -> it ends                  -> BackendSupervisor starts another one; the feed tells that what happened meanwhile
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
    /// <param name="onFailure">Told why, before the child has ended; the log is left to it.</param>
    public static SupervisorStrategy OfGuests(Action<Exception> onFailure) => new OneForOneStrategy(maxNrOfRetries: -1, withinTimeMilliseconds: Timeout.Infinite, cause =>
    {
        onFailure(cause);
        return Directive.Stop;
    }, loggingEnabled: false);
}
