using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Simulation;

/// <summary>A way in which a host fails and that no real one does on demand.</summary>
/// <param name="Description">What happens, in words for a person.</param>
/// <param name="Inject">Lets it happen to the first guest and its first device.</param>
public sealed record Fault(string Name, string Description, Func<SimulatedXenHost, SimulatedGuest, HostBdf, Task> Inject);

/// <summary>All the faults there are, by name.</summary>
public static class Faults
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18, BadTlp = 1 << 6;

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
        new("xenstored-restart", "xenstored ends and comes back with what it had", (xen, _, _) => xen.XenStored.RestartAsync(keepState: true)),
    ];

    public static Fault? Find(string name) => All.FirstOrDefault(fault => fault.Name == name);

    /// <summary>Lets a fault happen to the first guest that has a device.</summary>
    /// <returns>Whom it concerns, in words; null if no guest has a device.</returns>
    public static async Task<string?> InjectAsync(SimulatedXenHost xen, Fault fault)
    {
        foreach (var guest in xen.Guests)
        {
            if (guest.IsCrashed || await xen.Toolstack.DevicesAsync(guest.Id).ConfigureAwait(false) is not [var device, ..]) continue;
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
}
