using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Web.Preview;

/// <summary>Three hosts with seven guests and what may happen to them, for tests and for the eye.</summary>
public sealed class MadeUpFleet(int seed)
{
    public static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0"), Disk = HostBdf.Parse("0000:04:00.0"), Gpu = HostBdf.Parse("0000:65:00.0");

    private static readonly HostBdf Sata = HostBdf.Parse("0000:00:1f.2"), Smbus = HostBdf.Parse("0000:00:1f.3"), Usb = HostBdf.Parse("0000:00:14.0"), Audio = HostBdf.Parse("0000:65:00.1");

    private readonly Random _random = new(seed);

    public static FleetState Begin(DateTimeOffset now)
    {
        var state = FleetState.Empty;
        foreach (var status in new[] { Alpha(now), Beta(now), Gamma(now) }) state = state.WithPresence(status.Host, Presence.Up, now.AddHours(-3)).WithStatus(status, now);
        return state
            .WithIncident(Told("alpha", 1, now.AddHours(-26), IncidentKind.Adopted, 4, null, "Guest 4 of an earlier daemon was taken up, Connected, with 0000:03:00.0, 0000:04:00.0, 0000:00:14.0"), now)
            .WithIncident(Told("gamma", 1, now.AddHours(-5), IncidentKind.DeviceError, null, Usb, "0000:00:14.0 reports an error, correctable: Bad TLP; no guest has it", ["0000:00:14.0, correctable, status 00000040, heard from the kernel's trace", "bit 6: Bad TLP"]), now)
            .WithIncident(Told("gamma", 2, now.AddMinutes(-72), IncidentKind.Misbehaved, 12, Gpu, "Guest 12 breaks the protocol: it asks for a register beyond the end of a config space"), now)
            .WithIncident(Told("alpha", 2, now.AddMinutes(-31), IncidentKind.Restarted, 5, null, "GuestActor has failed and another one goes on in its place: InvalidOperationException", [],
                ["/user/backend/guest-5 GuestActor: fails, InvalidOperationException", "/user/backend BackendSupervisor: started another one, which takes the guest up where it is"]), now);
    }

    /// <summary>What a second has brought.</summary>
    public FleetState Next(FleetState state, DateTimeOffset now)
    {
        foreach (var (_, entry) in state.Hosts.Where(host => host.Value is { Presence: Presence.Up, Status: not null }))
            state = state.WithStatus(Later(entry.Status!, now), now);
        return state;
    }

    /// <summary>So many hosts, each with so many guests that have two devices each.</summary>
    public static FleetState Many(DateTimeOffset now, int hosts, int guests)
    {
        var state = FleetState.Empty;
        for (var host = 1; host <= hosts; host++)
            state = state.WithPresence($"host-{host}", Presence.Up, now).WithStatus(Host($"host-{host}", "4.20.1", now.AddMinutes(-30), 26,
            [
                .. Enumerable.Range(1, guests).Select(id => Guest(id, $"guest-{id}", now, 10 + id, 100, XenbusState.Connected,
                    [Device(new HostBdf(0, id, 0, 0), 0, 0x8086, 0x10D3, 0x020000, "MSI-X", 3), Device(new HostBdf(0, id, 0, 1), 1, 0x1B36, 0x0010, 0x010802, "MSI-X", 5)])),
            ]), now);
        return state;
    }

    /// <summary>A device of a host reports a fatal error; its guest is crashed.</summary>
    public static FleetState Break(FleetState state, DateTimeOffset now, string host = "beta")
    {
        const string error = "fatal: Malformed TLP, first Malformed TLP, TLP header 4a000001 00000004 01000000 00000000";
        ImmutableArray<string> details = ["0000:03:00.0, fatal, status 00140000, heard from the kernel's trace", "bit 18: Malformed TLP, the first", "bit 20: Unsupported Request Error", "TLP header 4a000001 00000004 01000000 00000000"];
        var status = state.Hosts[host].Status!;
        status = status with
        {
            At = now, Number = status.Number + 1,
            Guests = status.Guests.RemoveAll(guest => guest.Domain.Value == 7),
            Quarantine = status.Quarantine.Add(new QuarantinedDevice(Nic, new DomainId(7), now, "fatal: Malformed TLP")),
        };
        return state
            .WithIncident(Told(host, 1, now, IncidentKind.GuestKilled, 7, Nic, $"Guest 7 was crashed, because its device 0000:03:00.0 is lost: {error}", details,
            [
                $"/user/backend/guest-7/0000:03:00.0 DeviceActor: its device is lost, {error}", "/user/backend/guest-7 GuestActor: fails with its device",
                "/user/backend BackendSupervisor: crashed the guest through the hypervisor in 3.1 ms",
            ]), now)
            .WithIncident(Told(host, 2, now.AddMilliseconds(9), IncidentKind.Quarantined, 7, Nic, $"0000:03:00.0 is in quarantine since guest 7 has lost it: {error}", details), now)
            .WithStatus(status, now);
    }

    public static HostIncident Told(string host, long number, DateTimeOffset at, IncidentKind kind, int? guest, HostBdf? device, string summary, ImmutableArray<string>? details = null, ImmutableArray<string>? path = null) =>
        new(host, new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero), new Incident(number, at, kind, guest is { } id ? new DomainId(id) : null, device, summary, details ?? [], path ?? []));

    public static Task<ConfigView?> ConfigAsync(string host, DomainId guest, HostBdf device, CancellationToken stop) => Task.FromResult(device == Nic ? MadeUpConfig.OfNic(guest, device) : null);

    private static HostStatus Alpha(DateTimeOffset now) => Host("alpha", "4.17.5", now, 26,
    [
        Guest(4, "build", now, 40, 310, XenbusState.Connected, [Device(Nic, 0, 0x8086, 0x10D3, 0x020000, "MSI-X", 3), Device(Disk, 1, 0x1B36, 0x0010, 0x010802, "MSI-X", 9), Device(Usb, 2, 0x1B36, 0x000D, 0x0C0330, "MSI-X", 2)]),
        Guest(5, "mail", now, 2.4, 190, XenbusState.Connected, [Device(Sata, 0, 0x8086, 0x2922, 0x010601, "MSI", 1), Device(Smbus, 1, 0x8086, 0x2930, 0x0C0500, "line", 0)]),
    ]);

    private static HostStatus Beta(DateTimeOffset now) => Host("beta", "4.20.1", now, 3,
    [
        Guest(7, "web-2", now, 118, 64, XenbusState.Connected, [Device(Nic, 0, 0x8086, 0x10D3, 0x020000, "MSI-X", 3)]),
        Guest(8, "database", now, 12, 71, XenbusState.Connected, [Device(Disk, 0, 0x1B36, 0x0010, 0x010802, "MSI-X", 5)]),
        Guest(9, null, now, 0, null, XenbusState.Initialised, [Device(Sata, 0, 0x8086, 0x2922, 0x010601, "none", 0)]),
    ]);

    private static HostStatus Gamma(DateTimeOffset now) => Host("gamma", "4.20.1", now, 71,
    [
        Guest(12, "desktop", now, 31, 88, XenbusState.Connected, [Device(Gpu, 0, 0x1002, 0x73BF, 0x030000, "MSI", 1), Device(Audio, 1, 0x1002, 0xAB28, 0x040300, "MSI", 1, isRecovering: true)]) with { Topology = Topology.Passthrough },
        Guest(13, "backup", now, 0.8, 140, XenbusState.Connected, [Device(Nic, 0, 0x8086, 0x10D3, 0x020000, "line", 0)]),
    ]) with
    {
        Quarantine = [new QuarantinedDevice(Disk, new DomainId(11), now.AddHours(-9), "fatal: Completion Timeout")],
    };

    private static HostStatus Host(string name, string xen, DateTimeOffset now, int hours, ImmutableArray<GuestStatus> guests) => new(name, "0.1.0", xen, now.AddHours(-hours), now, 1, guests, []);

    private static GuestStatus Guest(int domain, string? name, DateTimeOffset now, double rate, double? latency, XenbusState state, ImmutableArray<DeviceStatus> devices) => new(
        new DomainId(domain), name, state, Topology.Vpci, now.AddMinutes(-20 * domain), devices, rate == 0 ? [] :
        [
            new OperationCount("conf_read", "ok", (long)(rate * 900)), new OperationCount("conf_write", "ok", (long)(rate * 210)), new OperationCount("conf_write", "access_denied", (long)(rate * 4)),
            new OperationCount("enable_msix", "ok", 3), new OperationCount("disable_msix", "ok", 2), new OperationCount("conf_read", "invalid_offset", domain == 12 ? 31 : 0),
        ],
        rate, latency is { } p99 ? new LatencyStatus(p99 / 4, p99, p99 * 9) : null);

    private static DeviceStatus Device(HostBdf device, int slot, ushort vendor, ushort id, uint classCode, string interrupts, int vectors, bool isRecovering = false) =>
        new(device, device == Gpu || device == Audio ? new VirtualBdf(device.Segment, device.Bus, device.Slot, device.Function) : new VirtualBdf(0, 0, slot, 0), vendor, id, classCode, interrupts, vectors, isRecovering);

    private HostStatus Later(HostStatus status, DateTimeOffset now) => status with { At = now, Number = status.Number + 1, Guests = [.. status.Guests.Select(Later)] };

    private GuestStatus Later(GuestStatus guest)
    {
        if (guest.Latency is not { } latency) return guest;
        var rate = Math.Max(0.2, guest.Rate * (0.8 + 0.4 * _random.NextDouble()) + (_random.Next(12) == 0 ? 25 : 0) - (guest.Rate > 150 ? 40 : 0));
        var p99 = Math.Clamp(latency.P99 * (0.85 + 0.3 * _random.NextDouble()), 20, 900);
        return guest with
        {
            Rate = rate, Latency = new LatencyStatus(p99 / 4, p99, Math.Max(latency.Longest, p99 * 4)),
            Operations = [.. guest.Operations.Select(one => one is { Result: "ok", Operation: "conf_read" or "conf_write" } ? one with { Count = one.Count + (long)rate } : one)],
        };
    }
}
