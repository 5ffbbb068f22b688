using Serilog;
using XenPciBack.Backend;
using XenPciBack.Backend.Guests;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Control;

/// <summary>The wish of an operator that this daemon really lets go: every guest gives its devices back, and nobody serves it afterwards.</summary>
/// <param name="next">The process that stands by; null if there is none.</param>
internal sealed class Drain(XenStoreClient store, XenHost host, DomainId backend, Func<int?> next)
{
    /// <summary>How often the toolstack is asked for a device. libxl strikes it off the list before it comes back, but where the backend was not Connected in 10 s; of that it says nothing.</summary>
    private const int Tries = 2;

    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Nothing is left to serve, and the daemon ends for good.</summary>
    public bool IsDone => _done.Task.IsCompleted;

    /// <returns>A line for each device that was taken away; or why a guest keeps one, and then this daemon goes on.</returns>
    public async Task<(IReadOnlyList<string> Devices, string? Refusal)> AskAsync()
    {
        if (next() is { } process) return ([], $"process {process} stands by and would serve on; stop it first");
        var taken = new List<GuestDevice>();
        // Until nothing is left: a guest may have been created meanwhile.
        while (await LeftAsync().ConfigureAwait(false) is [_, ..] devices)
            foreach (var device in devices)
            {
                if (taken.Count(before => before.Directory == device.Directory && before.Device == device.Device) == Tries)
                    return ([], $"guest {device.Guest} keeps {device.Device}, and this daemon serves on: the toolstack has said {Tries} times that the device is detached, and still lists it");
                if (await host.Toolstack.DetachAsync(device.Directory.Guest, device.Device).ConfigureAwait(false) is { } fault)
                    return ([], $"guest {device.Guest} keeps {device.Device}, and this daemon serves on: {fault}");
                Log.Logger.As(LogEvents.DeviceDetached).About(device.Directory.Guest).About(device.Device)
                    .Information("Detached by a drain");
                taken.Add(device);
            }
        return ([.. taken.Select(device => $"{device.Device} taken away from guest {device.Guest}.").Distinct()], null);
    }

    /// <summary>The operator has been told; this daemon may end.</summary>
    public void End() => _done.TrySetResult();

    /// <summary>Returns when <see cref="End"/> was called, or the daemon is to stop.</summary>
    public async Task DoneAsync(CancellationToken stop) => await ((Task)_done.Task.WaitAsync(stop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private async Task<IReadOnlyList<GuestDevice>> LeftAsync() =>
        [.. (await GuestDevices.ListAsync(store, backend).ConfigureAwait(false)).Where(device => !host.Pci.KernelBackendServes(device.Directory.Guest, device.Directory.DeviceId))];
}
