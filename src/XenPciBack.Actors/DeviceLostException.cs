using XenPciBack.Protocol;

namespace XenPciBack.Actors;

/// <summary>
/// A guest's device can be used no longer. Thrown by its actor, it takes the guest's actor along, and the supervisor ends the
/// guest (<see cref="Supervision"/>).
/// </summary>
/// <param name="guest">Whose device it is.</param>
/// <param name="device">It belongs to whoever handles the exception, and is to be given back.</param>
/// <param name="reason">What has happened to it, for the log and the error node.</param>
internal sealed class DeviceLostException(DomainId guest, AssignedDevice device, string reason) : Exception($"{device.Bdf}: {reason}")
{
    public DomainId Guest { get; } = guest;
    public AssignedDevice Device { get; } = device;
    public string Reason { get; } = reason;
}
