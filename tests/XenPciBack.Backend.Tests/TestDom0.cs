using Akka.Actor;
using Akka.Configuration;
using Akka.TestKit;
using Microsoft.Extensions.Time.Testing;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// A simulated dom0 with the whole backend: xenstored on a socket, guests with frontends of their own. Nothing in it is a mock.
/// It has the devices of <see cref="TestDevices"/>.
/// </summary>
public sealed class TestDom0 : IAsyncDisposable
{
    /// <summary>The product's times, but that what has failed is tried again soon.</summary>
    public static readonly BackendSettings Settings = new(
        DomainId.Zero, Loops: 64, Turn: TimeSpan.FromMilliseconds(2), GuestPatience: TimeSpan.FromSeconds(2),
        HotPlugPatience: TimeSpan.FromMilliseconds(200),
        StoreRetry: TimeSpan.FromMilliseconds(50));

    // A hook at the end of the process would keep every actor system of every test until then.
    private const string Quiet = """
        akka { loglevel = OFF, stdout-loglevel = OFF, log-dead-letters = off, loggers = [] }
        akka.coordinated-shutdown.run-by-clr-shutdown-hook = off
        """;

    /// <summary>The timers of actors run by the test's clock, too.</summary>
    private const string StoppedTimers = "akka.scheduler.implementation = \"Akka.TestKit.TestScheduler, Akka.TestKit\"";

    private readonly TemporaryDirectory _directory;
    private readonly ActorSystem _system;
    private readonly FakeTimeProvider? _clock;
    private Daemon? _daemon;

    // Each daemon's actors have names of their own: an actor that has ended may keep its name for a moment longer.
    private int _daemons;

    private TestDom0(TemporaryDirectory directory, ActorSystem system, FakeTimeProvider? clock, SimulatedXenHost xen, XenStoreClient store)
    {
        (_directory, _system, _clock, Xen, Store) = (directory, system, clock, xen, store);
        Events = new EventLog(system);
        foreach (var device in new[] { Intel82574.At(Nic), Ich9.Sata(Sata), Ich9.Smbus(Smbus), QemuEdu.At(Edu) })
            xen.Pci.Plug(device);
    }

    public SimulatedXenHost Xen { get; }

    /// <summary>A dom0 connection of the test's own.</summary>
    public XenStoreClient Store { get; }

    public ActorSystem System => _system;

    /// <summary>Of every daemon that ran.</summary>
    public EventLog Events { get; }

    /// <summary>The supervisor of the daemon that runs now.</summary>
    public IActorRef Backend => _daemon!.Backend;

    public IActorRef StatusKeeper => _daemon!.Status;

    public Measurements Measured => _daemon!.Measured;

    public Quarantine Quarantine => _daemon!.Quarantine;

    public DaemonProcess Process => _daemon!.Process;

    /// <param name="settings">null: <see cref="Settings"/>.</param>
    /// <param name="isTimeStopped">Every timer and every patience waits until <see cref="Advance"/>.</param>
    /// <param name="withDaemon">false: the test starts it.</param>
    /// <param name="akka">Akka's settings, in HOCON, before the usual ones.</param>
    /// <param name="toolstackPatience">How long the toolstack waits for a backend; null: libxl's 10 s.</param>
    public static async Task<TestDom0> StartAsync(
        BackendSettings? settings = null, bool isTimeStopped = false, bool withDaemon = true, string akka = "",
        TimeSpan? toolstackPatience = null)
    {
        var directory = new TemporaryDirectory();
        var configuration = ConfigurationFactory.ParseString(
            $"{Quiet}\n{(isTimeStopped ? StoppedTimers : "")}\n{akka}");
        var clock = isTimeStopped ? new FakeTimeProvider(DateTimeOffset.UnixEpoch) : null;
        var xen = await SimulatedXenHost.StartAsync(directory["xenstored"], toolstackPatience, clock);
        var store = await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint);
        var dom0 = new TestDom0(directory, ActorSystem.Create("dom0", configuration), clock, xen, store);
        if (withDaemon) await dom0.StartDaemonAsync(settings);
        return dom0;
    }

    public async ValueTask DisposeAsync()
    {
        await StopDaemonAsync();
        await _system.Terminate();
        await Store.DisposeAsync();
        await Xen.DisposeAsync();
        _directory.Dispose();
    }

    // ---- Daemons ------------------------------------------------------------------------------------------------------------

    /// <summary>Starts a daemon and waits until it has found its guests.</summary>
    public async Task StartDaemonAsync(BackendSettings? settings = null)
    {
        _daemon = await BeginAsync(settings, standsBy: false);
        await _daemon.Backend.Ask<BackendEvents.Ready>(WhenReady.Instance, Eventually.Patience);
    }

    /// <summary>The same for a daemon that may never be ready.</summary>
    public async Task BeginDaemonAsync(BackendSettings? settings = null) => _daemon = await BeginAsync(settings, standsBy: false);

    /// <summary>Ends the daemon as the end of its process would: no word to any guest.</summary>
    public async Task StopDaemonAsync()
    {
        if (_daemon is null) return;
        await _daemon.DisposeAsync();
        _daemon = null;
    }

    /// <summary>Another daemon takes the place of the one that runs.</summary>
    public async Task RestartDaemonAsync(BackendSettings? settings = null)
    {
        await StopDaemonAsync();
        await StartDaemonAsync(settings);
    }

    /// <summary>Starts one more daemon, which is ready to take over.</summary>
    public async Task<Daemon> StartStandbyAsync()
    {
        var standby = await BeginAsync(settings: null, standsBy: true);
        await standby.Backend.Ask<BackendEvents.Ready>(WhenReady.Instance, Eventually.Patience);
        return standby;
    }

    /// <summary>The process of the daemon that serves has been killed, and it is the standby's turn.</summary>
    public async Task LetTakeOverAsync(Daemon standby)
    {
        var before = _daemon!;
        _daemon = standby;
        standby.Backend.Tell(TakeOver.Instance);
        await before.DisposeAsync();
    }

    /// <summary>Waits until the daemon has handled every error of a device that was injected before.</summary>
    public async Task ErrorsHandledAsync()
    {
        foreach (var path in (ActorPath[])[Backend.Path / "aer", Backend.Path])
            await System.ActorSelection(path).Ask<ActorIdentity>(new Identify(path), Eventually.Patience);
    }

    private async Task<Daemon> BeginAsync(BackendSettings? settings, bool standsBy)
    {
        var process = Xen.StartProcess();
        var quarantine = new Quarantine(process.Host.LastingRecords);
        var client = await XenStoreClient.ConnectAsync(Xen.XenStored.Endpoint);
        process.Killed.Register(() => _ = client.DisposeAsync().AsTask());
        var (number, meters) = (++_daemons, new BackendMeters(process.Host.Clock));
        var status = _system.StartHostStatus(client, process.Host, quarantine, meters, "dom0", $"host-status-{number}");
        var loops = EventLoops.Of(process.Host, settings ?? Settings);
        var backend = _system.StartPciBackend(
            client, process.Host, loops, quarantine, settings ?? Settings, standsBy,
            number == 1 ? "pci-backend" : $"pci-backend-{number}", meters);
        return new Daemon(process, client, loops, backend, status, quarantine, new Measurements(meters));
    }

    /// <summary>One daemon, its process and its actors.</summary>
    public sealed record Daemon(
        DaemonProcess Process, XenStoreClient Client, EventLoops Loops, IActorRef Backend, IActorRef Status,
        Quarantine Quarantine, Measurements Measured)
        : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await Backend.GracefulStop(Eventually.Patience);
            await Status.GracefulStop(Eventually.Patience);
            Measured.Dispose();
            Loops.Dispose();
            await Client.DisposeAsync();
            Process.Host.Dispose();
        }
    }

    // ---- Time ---------------------------------------------------------------------------------------------------------------

    /// <summary>Moves the stopped time on: what was due runs before this returns, in so far as it needs no other thread.</summary>
    public void Advance(TimeSpan by)
    {
        if (_clock is null) throw new InvalidOperationException("time runs by itself; start the dom0 with isTimeStopped");
        _clock.Advance(by);
        ((TestScheduler)_system.Scheduler).Advance(by);
    }

    /// <summary>Moves the stopped time on in steps until something that waits for it is done.</summary>
    public async Task AdvanceUntilDoneAsync(Task done, TimeSpan? step = null)
    {
        await Eventually.IsTrueAsync(() =>
        {
            if (!done.IsCompleted) Advance(step ?? TimeSpan.FromMilliseconds(100));
            return done.IsCompleted;
        });
        await done;
    }

    // ---- Guests -------------------------------------------------------------------------------------------------------------

    /// <summary>A guest whose frontend has connected and found its devices.</summary>
    public Task<SimulatedGuest> ConnectedGuestAsync(string name, params HostBdf[] devices) => ConnectedGuestAsync(name, devices, null);

    /// <param name="frontend">
    /// How its frontend behaves; null: as Linux's, but as patient as the test, because a busy machine may keep it waiting.
    /// </param>
    /// <param name="options">The toolstack's options of each device.</param>
    public async Task<SimulatedGuest> ConnectedGuestAsync(
        string name, HostBdf[] devices, FrontendOptions? frontend, string options = PciDeviceOptions.Default)
    {
        var behaviour = frontend ?? new FrontendOptions { RequestTimeout = Eventually.Patience };
        var guest = await Xen.CreateGuestAsync(name, devices, behaviour, options);
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        return guest;
    }

    /// <summary>A guest whose frontend does nothing by itself; the backend has its devices and waits.</summary>
    public async Task<SimulatedGuest> WaitingGuestAsync(params HostBdf[] devices)
    {
        var guest = await Xen.CreateGuestAsync("by-hand", devices, new FrontendOptions { IsSilent = true });
        await Eventually.EqualAsync("3", () => ReadAsync(guest, "state"));
        return guest;
    }

    /// <summary>A guest whose frontend does nothing by itself and is connected: no request was ever made.</summary>
    public async Task<SimulatedGuest> ConnectedByHandAsync(params HostBdf[] devices)
    {
        var guest = await WaitingGuestAsync(devices);
        await PublishAsync(guest);
        await Eventually.EqualAsync("4", () => ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        return guest;
    }

    /// <summary>Does for a frontend what pcifront does once it has its page and port, up to Initialised.</summary>
    /// <param name="grant">Published instead of a grant of the frontend's page.</param>
    /// <param name="magic">null: none.</param>
    public async Task PublishAsync(SimulatedGuest guest, string? grant = null, string? magic = "7")
    {
        var directory = SimulatedToolstack.FrontendOf(guest.Id);
        grant ??= $"{Xen.Grants.Grant(guest.Id, guest.Frontend.Page)}";
        await Store.TransactAsync(async tx =>
        {
            await Store.WriteAsync(directory / "pci-op-ref", grant, tx);
            await Store.WriteAsync(directory / "event-channel", $"{guest.Frontend.Port.Number}", tx);
            if (magic is not null) await Store.WriteAsync(directory / "magic", magic, tx);
        });
        await guest.Frontend.WriteStateAsync(3);
    }

    public static XenStorePath BackendOf(SimulatedGuest guest) => SimulatedToolstack.BackendOf(guest.Id);

    /// <summary>A node of the guest's backend directory.</summary>
    public Task<string?> ReadAsync(SimulatedGuest guest, string node) => Store.ReadAsync(BackendOf(guest) / node);

    /// <summary>The guest's error node: errno and text.</summary>
    public Task<string?> ReadErrorAsync(SimulatedGuest guest) =>
        Store.ReadAsync(new XenStorePath($"/local/domain/0/error/backend/pci/{guest.Id}/0/error"));
}
