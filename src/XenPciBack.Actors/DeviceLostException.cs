using XenPciBack.Protocol;

namespace XenPciBack.Actors;

/// <summary>
/// A guest's device can be used no longer. Thrown by its actor, it takes the guest's actor along, and the supervisor ends the
/// guest (<see cref="Supervision"/>).
/// </summary>
/// <param name="guest">Whose device it is.</param>
/// <param name="reason">What has happened to it, for the log and the error node.</param>
internal sealed class DeviceLostException(DomainId guest, HostBdf device, string reason) : Exception($"{device}: {reason}")
{
    public DomainId Guest { get; } = guest;
    public HostBdf Device { get; } = device;
    public string Reason { get; } = reason;
}
