using Akka.Actor;

namespace XenPciBack.Actors;

/// <summary>
/// Who dies of what, in one place:
/// <code>
///   DeviceActor fails  -> GuestActor fails with it
///   GuestActor fails   -> BackendSupervisor ends that guest's connection; every other guest goes on
/// </code>
/// </summary>
internal static class Supervision
{
    /// <summary>Used by a guest for its devices: a device does not fail alone.</summary>
    public static readonly SupervisorStrategy OfDevices = new OneForOneStrategy(_ => Directive.Escalate);

    /// <summary>Used by the supervisor for its guests: one guest's connection ends, no other is touched.</summary>
    public static readonly SupervisorStrategy OfGuests = new OneForOneStrategy(_ => Directive.Stop);
}
