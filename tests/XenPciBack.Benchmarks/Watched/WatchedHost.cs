using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.XenStore;

namespace XenPciBack.Benchmarks;

/// <summary>The backend as the daemon has it, on an embedded host, with one guest that asks as fast as it is answered.</summary>
internal sealed class Host : IAsyncDisposable
{
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private readonly SimulatedXenHost _xen;
    private readonly XenHost _host;
    private readonly XenStoreClient _client;
    private readonly IHost _backend;
    private readonly SimulatedGuest _guest;

    private Host(SimulatedXenHost xen, XenHost host, XenStoreClient client, IHost backend, SimulatedGuest guest) => (_xen, _host, _client, _backend, _guest) = (xen, host, client, backend, guest);

    public IServiceProvider Services => _backend.Services;

    public static async Task<Host> StartAsync(DaemonSettings settings, string directory)
    {
        var xen = await SimulatedXenHost.StartAsync(Path.Combine(directory, "xenstored"));
        xen.Pci.Plug(Intel82574.At(Nic));
        var (host, client) = (xen.OpenHost(), await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint));
        var backend = Backend.Build(settings, host, client);
        await backend.StartAsync();
        var guest = await xen.CreateGuestAsync("web", [Nic]);
        await guest.Frontend.WaitUntilConnectedAsync(CancellationToken.None);
        return new Host(xen, host, client, backend, guest);
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
        await _backend.StopAsync();
        _backend.Dispose();
        await _client.DisposeAsync();
        _host.Dispose();
        await _xen.DisposeAsync();
    }
}
