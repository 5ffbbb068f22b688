using System.Collections.Immutable;
using XenPciBack.Backend.Devices;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Tracing;

/// <summary>Who watches one guest's operations, and which devices they have been told about.</summary>
internal sealed class GuestTrace(DomainId guest, TimeProvider clock)
{
    private readonly HashSet<HostBdf> _described = [];
    private ImmutableArray<TraceSink> _sinks = [];

    public bool IsOn => !_sinks.IsEmpty;

    public void SwitchTo(ImmutableArray<TraceSink> sinks)
    {
        _sinks = [.. sinks.Where(sink => sink.Wants(guest))];
        _described.Clear();
    }

    /// <returns>true the first time: the viewers do not know the device yet.</returns>
    public bool MustDescribe(HostBdf device) => _described.Add(device);

    public void Forget(HostBdf device) => _described.Remove(device);

    /// <param name="traced">What the device did; null if no device was asked.</param>
    public void Offer(PciRequest request, in PciAnswer answer, TimeSpan took, DeviceActor.TracedAnswer? traced)
    {
        var operation = new TracedOperation(clock.GetUtcNow(), took, guest, traced?.Device, request, answer,
            traced?.Register ?? "", traced?.Fields ?? [], traced?.Accesses ?? [], traced?.Description);
        foreach (var sink in _sinks) sink.Offer(operation);
    }
}
