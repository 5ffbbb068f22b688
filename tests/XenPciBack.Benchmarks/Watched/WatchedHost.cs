using System.Diagnostics;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Benchmarks.Watched;

/// <summary>An embedded host whose backend is watched, with one guest that asks as fast as it is answered.</summary>
internal sealed class WatchedHost : IAsyncDisposable
{
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private readonly SimulatedXenHost _xen;
    private readonly RunningBackend _backend;
    private readonly SimulatedGuest _guest;

    private WatchedHost(SimulatedXenHost xen, RunningBackend backend, SimulatedGuest guest) =>
        (_xen, _backend, _guest) = (xen, backend, guest);

    public IServiceProvider Services => _backend.Services;

    public static async Task<WatchedHost> StartAsync(DaemonSettings settings, string directory)
    {
        var xen = await SimulatedXenHost.StartAsync(Path.Combine(directory, "xenstored"));
        xen.Pci.Plug(Intel82574.At(Nic));
        var backend = await RunningBackend.StartAsync(xen, settings);
        var guest = await xen.CreateGuestAsync("web", [Nic]);
        await guest.Frontend.WaitUntilConnectedAsync(CancellationToken.None);
        return new WatchedHost(xen, backend, guest);
    }

    /// <summary>Lets the guest read a register, time and again.</summary>
    /// <returns>How long each took, in microseconds, as the guest sees it.</returns>
    public async Task<List<double>> AskAsync(TimeSpan howLong)
    {
        var took = new List<double>();
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < howLong)
        {
            var began = Stopwatch.GetTimestamp();
            await _guest.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4);
            took.Add(Stopwatch.GetElapsedTime(began).TotalMicroseconds);
        }
        return took;
    }

    public async ValueTask DisposeAsync()
    {
        await _backend.DisposeAsync();
        await _xen.DisposeAsync();
    }
}
