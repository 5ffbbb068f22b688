using System.Diagnostics;
using System.Diagnostics.Metrics;
using Akka.Actor;
using Akka.Configuration;
using XenPciBack.Actors;
using XenPciBack.Actors.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.XenStore;

namespace XenPciBack.Benchmarks;

/// <summary>A backend on an embedded host of its own, with one guest that asks as fast as it is answered.</summary>
internal sealed class Host : IAsyncDisposable
{
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private readonly SimulatedXenHost _xen;
    private readonly XenHost _host;
    private readonly XenStoreClient _client;
    private readonly ActorSystem _system;
    private readonly BackendMeters _meters;
    private readonly IActorRef _status;
    private readonly SimulatedGuest _guest;
    private readonly string _directory;

    private Host(SimulatedXenHost xen, XenHost host, XenStoreClient client, ActorSystem system, BackendMeters meters, IActorRef status, SimulatedGuest guest, string directory) =>
        (_xen, _host, _client, _system, _meters, _status, _guest, _directory) = (xen, host, client, system, meters, status, guest, directory);

    /// <param name="isWatched">A status is kept, and actors are counted.</param>
    public static async Task<Host> StartAsync(bool isWatched)
    {
        var directory = Directory.CreateTempSubdirectory("xenpciback-").FullName;
        var xen = await SimulatedXenHost.StartAsync(Path.Combine(directory, "xenstored"));
        xen.Pci.Plug(Intel82574.At(Nic));
        var (host, client) = (xen.OpenHost(), await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint));
        var akka = $"akka {{ loglevel = OFF, stdout-loglevel = OFF, log-dead-letters = off, actor.telemetry.enabled = {(isWatched ? "on" : "off")} }}";
        var system = ActorSystem.Create("benchmark", ConfigurationFactory.ParseString(akka).WithFallback(DataPlane.Configuration));
        var (quarantine, meters) = (new Quarantine(host.LastingRecords), new BackendMeters());
        var status = isWatched ? system.StartHostStatus(client, host, quarantine, meters) : ActorRefs.Nobody;
        system.StartPciBackend(client, host, quarantine, new BackendSettings(DomainId.Zero, RequestsPerTurn: 16, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(8), TimeSpan.FromSeconds(1)), meters: meters);
        var guest = await xen.CreateGuestAsync("web", [Nic]);
        await guest.Frontend.WaitUntilConnectedAsync(CancellationToken.None);
        return new Host(xen, host, client, system, meters, status, guest, directory);
    }

    /// <summary>Lets the guest read a register, time and again.</summary>
    /// <returns>How long each took, in microseconds, as the guest sees it.</returns>
    public async Task<double[]> AskAsync(int times)
    {
        var took = new double[times];
        for (var i = 0; i < times; i++)
        {
            var began = Stopwatch.GetTimestamp();
            await _guest.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4);
            took[i] = Stopwatch.GetElapsedTime(began).TotalMicroseconds;
        }
        return took;
    }

    /// <summary>Reads every instrument and asks for the status, time and again.</summary>
    public async Task LookAsync(TimeSpan period, CancellationToken stop)
    {
        using var scraper = new MeterListener { InstrumentPublished = (instrument, listener) => listener.EnableMeasurementEvents(instrument) };
        var sum = 0.0;
        scraper.SetMeasurementEventCallback<long>((_, value, _, _) => sum += value);
        scraper.SetMeasurementEventCallback<double>((_, value, _, _) => sum += value);
        scraper.Start();
        using var timer = new PeriodicTimer(period);
        while (!stop.IsCancellationRequested)
        {
            scraper.RecordObservableInstruments();
            await _status.Ask<HostStatus>(GetStatus.Instance, CancellationToken.None);
            await ((Task)timer.WaitForNextTickAsync(stop).AsTask()).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _system.Terminate();
        _meters.Dispose();
        await _client.DisposeAsync();
        _host.Dispose();
        await _xen.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
