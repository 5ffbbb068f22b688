using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Fleet.Tests;

/// <summary>Things to tell, with every field set.</summary>
internal static class Some
{
    public static readonly DateTimeOffset Noon = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    public static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private static readonly VirtualBdf Slot0 = new(0, 0, 0, 0);

    public static HostStatus Status(string host, long number = 1, DateTimeOffset? since = null) => new(
        host, "0.1.0", "4.17", since ?? Noon, (since ?? Noon).AddSeconds(number), number,
        [
            new GuestStatus(new DomainId(1), "web", XenbusState.Connected, Topology.Vpci, since ?? Noon,
                [new DeviceStatus(Nic, Slot0, 0x8086, 0x10D3, 0x020000, "MSI-X", 3, IsRecovering: false)],
                [new OperationCount("conf_read", "ok", 12), new OperationCount("conf_write", "ok", 3)], 1.5, new LatencyStatus(4.5, 12, 40)),
        ],
        [new QuarantinedDevice(HostBdf.Parse("0000:04:00.0"), new DomainId(2), Noon, "fatal: Malformed TLP")]);

    public static Incident Incident(long number = 1, IncidentKind kind = IncidentKind.GuestKilled, DateTimeOffset? at = null) => new(
        number, at ?? Noon.AddSeconds(number), kind, new DomainId(1), Nic, "Guest web was crashed", ["Malformed TLP"], ["DeviceActor 0000:03:00.0", "GuestActor 1", "BackendSupervisor"]);

    public static HostIncident Told(string host, long number = 1, DateTimeOffset? daemon = null, DateTimeOffset? at = null) => new(host, daemon ?? Noon, Incident(number, at: at));
}
