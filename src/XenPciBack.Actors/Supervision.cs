using Akka.Actor;

namespace XenPciBack.Actors;

/// <summary>
/// Who dies of what, in one place:
/// <code>
///   DeviceActor: its device is lost        -> GuestActor fails with it -> BackendSupervisor crashes that guest and quarantines the device
///   DeviceActor or GuestActor: a bug       -> GuestActor ends          -> BackendSupervisor starts another one, which takes the guest up
///                                             where it is; after MostFailures within FailureWindow the guest is left alone
///   AerMonitor: a bug                      -> it ends                  -> BackendSupervisor starts another one; the feed tells that what happened meanwhile
/// </code>
/// No other guest is touched by any of it.
/// </summary>
internal static class Supervision
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
