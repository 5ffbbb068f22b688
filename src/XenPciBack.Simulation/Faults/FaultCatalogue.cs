using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Simulation.Faults;

/// <summary>A way in which a host fails and that no real one does on demand.</summary>
/// <param name="Description">What happens, in words for a person.</param>
/// <param name="Inject">Lets it happen to the first guest and its first device.</param>
public sealed record Fault(string Name, string Description, Func<SimulatedXenHost, SimulatedGuest, HostBdf, Task> Inject);

/// <summary>The faults that a person can let happen, by name.</summary>
public static class FaultCatalogue
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18, BadTlp = 1 << 6;
    private const uint EnableMsi = 2;

    public static readonly IReadOnlyList<Fault> All =
    [
        new("aer", "a device reports a fatal error", (xen, _, device) => Report(xen, device, AerSeverity.Fatal, MalformedTlp)),
        new("aer-nonfatal", "a device reports a non-fatal error", (xen, _, device) => Report(xen, device, AerSeverity.NonFatal, CompletionTimeout)),
        new("aer-correctable", "a device reports 1,000 correctable errors", (xen, _, device) => Report(xen, device, AerSeverity.Correctable, BadTlp, times: 1000)),
        new("aer-storm", "a device reports 1,000 fatal errors", (xen, _, device) => Report(xen, device, AerSeverity.Fatal, MalformedTlp, times: 1000)),
        new("device-gone", "a device is pulled out: it answers nothing any more", (xen, _, device) =>
        {
            xen.Pci[device].IsPresent = false;
            return Task.CompletedTask;
        }),
        new("guest-crash", "a guest's kernel crashes", async (xen, guest, _) =>
        {
            await xen.CrashGuestAsync(guest).ConfigureAwait(false);
            await xen.DestroyGuestAsync(guest).ConfigureAwait(false);
        }),
        new("actor-crash", "the actor of a device fails by a bug at the next config read", (xen, _, device) => Arm(xen, FaultPoint.ConfigRead, FaultKind.Bug, device: device)),
        new("config-read", "the next config read of a device fails", (xen, _, device) => Arm(xen, FaultPoint.ConfigRead, device: device)),
        new("config-write", "the next config write of a device fails", (xen, _, device) => Arm(xen, FaultPoint.ConfigWrite, device: device)),
        new("map-pirq", "a guest's driver asks for MSI, and the hypervisor has no PIRQ left", (xen, guest, device) =>
        {
            xen.Faults.Arm(FaultPoint.PirqMap, guest: guest.Id, errno: Errnos.ENOSPC);
            VirtualBdf.TryParse(guest.Frontend.Devices[0].Address, out var place);
            return guest.Frontend.SendAsync(new FrontendRequest(EnableMsi, place.Segment, place.Bus, place.DevFn));
        }),
        new("notify", "an event to a guest cannot be sent", (xen, guest, _) => Arm(xen, FaultPoint.Notify, guest: guest.Id)),
        new("grant-map", "a guest is started anew, and its page cannot be mapped", (xen, guest, _) => StartAnewAsync(xen, guest, FaultPoint.GrantMap)),
        new("device-open", "a guest is started anew, and its device cannot be opened", (xen, guest, _) => StartAnewAsync(xen, guest, FaultPoint.DeviceOpen)),
        new("xenstore-reply", "xenstored answers the next five questions about a guest with an error", (xen, guest, _) =>
        {
            xen.Faults.Arm(FaultPoint.StoreReply, guest: guest.Id, times: 5);
            // So that the backend has something to ask.
            return guest.Frontend.WriteStateAsync(guest.Frontend.State);
        }),
        new("xenstored-restart", "xenstored ends and comes back with what it had", (xen, _, _) => xen.RestartXenStoredAsync()),
        new("slow-disk", "a device reports a fatal error, and the disk takes 10 s to put it on record", (xen, _, device) =>
        {
            xen.Faults.Arm(FaultPoint.RecordWrite, FaultKind.Stall, device: device, duration: TimeSpan.FromSeconds(10));
            return Report(xen, device, AerSeverity.Fatal, MalformedTlp);
        }),
        new("full-disk", "a device reports a fatal error, and the disk has no room for the record at first", (xen, _, device) =>
        {
            xen.Faults.Arm(FaultPoint.RecordWrite, device: device, times: 3, errno: Errnos.ENOSPC);
            return Report(xen, device, AerSeverity.Fatal, MalformedTlp);
        }),
    ];

    public static Fault? Find(string name) => All.FirstOrDefault(fault => fault.Name == name);

    /// <summary>Lets a fault happen to the first guest that has a device.</summary>
    /// <returns>Whom it concerns, in words; null if no guest has a device.</returns>
    public static async Task<string?> InjectAsync(SimulatedXenHost xen, Fault fault)
    {
        foreach (var guest in xen.Guests)
        {
            if (guest.IsCrashed || guest.Frontend.Devices.IsEmpty || await xen.Toolstack.DevicesAsync(guest.Id).ConfigureAwait(false) is not [var device, ..]) continue;
            await fault.Inject(xen, guest, device).ConfigureAwait(false);
            return $"{fault.Description}: {device} of guest {guest.Name}";
        }
        return null;
    }

    private static Task Report(SimulatedXenHost xen, HostBdf device, AerSeverity severity, uint status, int times = 1)
    {
        for (var i = 0; i < times; i++) xen.Aer.Inject(device, severity, status);
        return Task.CompletedTask;
    }

    private static Task Arm(SimulatedXenHost xen, FaultPoint point, FaultKind kind = FaultKind.Error, DomainId? guest = null, HostBdf? device = null)
    {
        xen.Faults.Arm(point, kind, guest, device);
        return Task.CompletedTask;
    }

    private static async Task StartAnewAsync(SimulatedXenHost xen, SimulatedGuest guest, FaultPoint point)
    {
        var devices = await xen.Toolstack.DevicesAsync(guest.Id).ConfigureAwait(false);
        await xen.DestroyGuestAsync(guest).ConfigureAwait(false);
        xen.Faults.Arm(point);
        await xen.CreateGuestAsync(guest.Name, devices).ConfigureAwait(false);
    }
}
