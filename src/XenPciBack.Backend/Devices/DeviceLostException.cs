using XenPciBack.Backend.Supervision;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Devices;

/// <summary>
/// A guest's device can be used no longer. Thrown by its actor, it takes the guest's actor along, and the supervisor ends the
/// guest (<see cref="FailureTable"/>).
/// </summary>
/// <param name="device">It belongs to whoever has called <see cref="Take"/>.</param>
/// <param name="free">Done when nobody uses the device any more.</param>
/// <param name="reason">What has happened to it, for the log and the error node.</param>
internal sealed class DeviceLostException(AssignedDevice device, Task free, string reason) : Exception($"{device.Bdf}: {reason}")
{
    public DomainId Guest => Device.Guest;
    public AssignedDevice Device { get; } = device;

    /// <summary>Somebody has taken charge of the device and will give it back; without that its actor closes it.</summary>
    public bool IsTaken { get; private set; }

    public void Take() => IsTaken = true;
    public Task Free { get; } = free;
    public string Reason { get; } = reason;
}
