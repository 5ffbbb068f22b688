using Akka.Actor;
using Akka.Configuration;
using Serilog;
using XenPciBack.Backend;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary>
/// What a daemon that stands by does until its turn comes: it serves, takes up and crashes a guest of an embedded host, so that all the code
/// it is going to need is loaded and compiled when a real guest waits.
/// </summary>
internal static class Rehearsal
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public static async Task RunAsync(DaemonSettings settings, CancellationToken stop)
    {
        try
        {
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop);
            patience.CancelAfter(Patience);
            await PlayAsync(settings.Backend, patience.Token);
            // What it leaves is cleared away while no guest waits. Among it are the timers of Akka's schedulers, which tick until they are collected.
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
        }
        catch (Exception e) when (e is not OperationCanceledException || !stop.IsCancellationRequested)
        {
            Log.Warning("The rehearsal has failed, so taking over may take longer: {Cause}", e.Message);
        }
    }

    private static async Task PlayAsync(BackendSettings settings, CancellationToken stop)
    {
        using var directory = new TemporaryDirectory();
        var socket = Path.Combine(directory.Path, "xenstored");
        await using var xen = await DemoHost.StartAsync(socket);
        var (name, devices) = DemoHost.Guests[0];
        var guest = await xen.CreateGuestAsync(name, devices, new FrontendOptions { LooksForDevices = false, RequestTimeout = Patience });

        await ServeAsync(xen, settings, () => guest.Frontend.WaitUntilConnectedAsync(stop), stop);
        await ServeAsync(xen, settings, async () =>
        {
            await guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4);
            await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0006);
            await guest.Frontend.SendAsync(new FrontendRequest((uint)PciOpCode.EnableMsi, 0, 0, 0));
            await guest.Frontend.SendAsync(new FrontendRequest((uint)PciOpCode.DisableMsi, 0, 0, 0));
            xen.Aer.Inject(devices[0], AerSeverity.Fatal, 1 << 14);
            while (!guest.IsCrashed) await Task.Delay(10, stop);
        }, stop);
    }

    private static async Task ServeAsync(SimulatedXenHost xen, BackendSettings settings, Func<Task> scene, CancellationToken stop)
    {
        using var host = xen.OpenHost();
        await using var client = await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint, stop);
        using var system = ActorSystem.Create("rehearsal", ConfigurationFactory.ParseString(
            "akka { loglevel = OFF, stdout-loglevel = OFF, log-dead-letters = off }"));
        using var loops = EventLoops.Of(host, settings);
        var backend = system.StartPciBackend(client, host, loops, new Quarantine(host.LastingRecords), settings);
        await scene();
        await backend.GracefulStop(Patience);
        await system.Terminate();
    }
}
