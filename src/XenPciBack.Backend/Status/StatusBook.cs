using System.Collections.Immutable;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Backend.Status;

/// <summary>What is known of a host's guests: their connections from the backend's events, the rest from its meters.</summary>
internal sealed class StatusBook(BackendMeters meters, string host, string version, string xen, DateTimeOffset since)
{
    /// <summary>"The last few seconds", in samples: one more is taken each second.</summary>
    private const int Samples = 5;

    private readonly Dictionary<DomainId, Guest> _guests = [];
    private DateTimeOffset _since = since;
    private long _number;

    private sealed class Guest
    {
        public required BackendEvents.GuestChanged Now { get; set; }

        /// <summary>The latest last.</summary>
        public Queue<Sample> Before { get; } = new();
    }

    private sealed record Sample(DateTimeOffset At, long Operations, LatencySnapshot Latency);

    /// <summary>No guest gets these.</summary>
    public ImmutableArray<QuarantinedDevice> Quarantine { get; set; } = [];

    /// <summary>The backend serves the guests from now on.</summary>
    public void Begin(DateTimeOffset at) => _since = at;

    /// <returns>true if nothing was known of the guest.</returns>
    public bool Change(BackendEvents.GuestChanged changed)
    {
        var isNew = !_guests.TryGetValue(changed.Guest, out var guest);
        if (isNew) _guests[changed.Guest] = new Guest { Now = changed };
        else guest!.Now = changed;
        return isNew;
    }

    public void Forget(DomainId guest) => _guests.Remove(guest);

    public void TakeSamples(DateTimeOffset at)
    {
        foreach (var (domain, guest) in _guests)
        {
            if (meters.Find(domain) is not { } meter) continue;
            guest.Before.Enqueue(SampleOf(meter, at));
            if (guest.Before.Count > Samples) guest.Before.Dequeue();
        }
    }

    public HostStatus Write(DateTimeOffset at) =>
        new(host, version, xen, _since, at, ++_number, [.. _guests.OrderBy(guest => guest.Key.Value).Select(guest => StatusOf(guest.Value, at)).OfType<GuestStatus>()], Quarantine);

    /// <returns>null: the guest is going, and its counts have gone already.</returns>
    private GuestStatus? StatusOf(Guest guest, DateTimeOffset at)
    {
        if (meters.Find(guest.Now.Guest) is not { } meter) return null;
        var now = SampleOf(meter, at);
        var before = guest.Before.TryPeek(out var oldest) ? oldest : new Sample(meter.Since, 0, LatencySnapshot.Empty);
        var seconds = (at - before.At).TotalSeconds;
        return new GuestStatus(guest.Now.Guest, guest.Now.Name, guest.Now.State, guest.Now.Topology, meter.Since, [.. guest.Now.Devices.Select(member => StatusOf(member, meter))], OperationsOf(meter),
            seconds > 0 ? Math.Max(0, now.Operations - before.Operations) / seconds : 0, now.Latency.Since(before.Latency));
    }

    private static DeviceStatus StatusOf(SlotMember member, GuestMeter meter) => meter.Find(member.Host) is { } device
        ? new DeviceStatus(member.Host, member.Virtual, device.VendorId, device.DeviceId, device.ClassCode, device.Messages switch
        {
            MessageKind.Msi => "MSI",
            MessageKind.Msix => "MSI-X",
            _ => device.HasLine ? "line" : "none",
        }, device.Vectors, device.IsRecovering)
        {
            UnansweredSeconds = device.Access.Lasts is { } lasts && lasts >= AccessInProgress.Slow
                ? lasts.TotalSeconds : null,
        }
        // Of a guest that has been ended for it.
        : new DeviceStatus(member.Host, member.Virtual, 0, 0, 0, "none", 0, false);

    private static ImmutableArray<OperationCount> OperationsOf(GuestMeter meter) =>
        [.. AllOf(meter).GroupBy(count => (count.Operation, count.Result)).Select(same => new OperationCount(same.Key.Operation, same.Key.Result, same.Sum(count => count.Count)))];

    private static IEnumerable<OperationCount> AllOf(GuestMeter meter) => meter.Devices.SelectMany(device => device.Operations.All).Concat(meter.Elsewhere.All);

    private static Sample SampleOf(GuestMeter meter, DateTimeOffset at) => new(at, AllOf(meter).Sum(count => count.Count), new LatencySnapshot(meter.Answering));
}
