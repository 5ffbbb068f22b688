using System.Collections.Concurrent;
using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Simulation.Replay;

/// <summary>The devices of a recording, behind the ports of a host.</summary>
public sealed class RecordedHost(IReadOnlyDictionary<HostBdf, RecordedDevice> devices) : IPciHost, IGuestPirqs
{
    private readonly ConcurrentDictionary<HostBdf, bool> _given = new();

    public IPciFunction Open(HostBdf bdf)
    {
        if (!devices.TryGetValue(bdf, out var device)) throw new PciFunctionUnavailableException(bdf, "it is not in the recording");
        if (!_given.TryAdd(bdf, true)) throw new PciFunctionUnavailableException(bdf, "already given to a guest") { IsInUse = true };
        return device.Open(onClose: () => _given.TryRemove(bdf, out _));
    }

    public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => devices.GetValueOrDefault(bdf)?.Description.Facts.Bridges ?? [];

    public string? ObjectionToMore => null;

    public ConfigPolicy PolicyOf(HostBdf bdf) => devices[bdf].Description.Policy;

    public bool KernelBackendServes(DomainId guest, int deviceId) => false;

    public IPirqs Of(DomainId guest, HostBdf function) => devices[function].OpenPirqs();
}
