using Akka.Actor;
using Akka.Configuration;
using Akka.TestKit.Xunit2;
using XenPciBack.Actors.Status;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.XenStore;

namespace XenPciBack.Actors.Tests;

/// <summary>
/// The whole actor system on a simulated host: xenstored on a socket, guests with their own frontends. Nothing in it is a mock.
/// </summary>
public abstract class BackendTest(string? akka = null) : TestKit(ConfigurationFactory.ParseString(akka ?? Quiet).WithFallback(DataPlane.Configuration)), IAsyncLifetime
{
    protected const string Quiet = "akka { loglevel = OFF, stdout-loglevel = OFF, log-dead-letters = off }";

    /// <summary>Long enough for the busiest machine; only ever spent by a failure.</summary>
    protected static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    protected static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0"), Sata = HostBdf.Parse("0000:00:1f.2"), Smbus = HostBdf.Parse("0000:00:1f.3"), Edu = HostBdf.Parse("0000:05:01.0");

    protected static readonly BackendSettings Settings = new(DomainId.Zero, RequestsPerTurn: 16, GuestPatience: TimeSpan.FromSeconds(2), HotPlugPatience: TimeSpan.FromMilliseconds(200), StoreRetry: TimeSpan.FromMilliseconds(50));

    protected const uint EnableMsi = 2, DisableMsi = 3, EnableMsix = 4, DisableMsix = 5;

    private readonly string _directory = Directory.CreateTempSubdirectory("xenpciback-").FullName;
    private DaemonProcess? _process;
    private XenStoreClient? _client;
    private IActorRef? _backend;

    // Each has a name of its own: an actor that has ended may keep its for a moment longer.
    private int _daemons;

    protected SimulatedXenHost Xen { get; private set; } = null!;

    protected IActorRef Backend => _backend!;

    /// <summary>Of the backend that runs now, as <see cref="Measured"/>.</summary>
    protected IActorRef StatusKeeper { get; private set; } = null!;

    protected Measurements Measured { get; private set; } = null!;

    /// <summary>The backend's process.</summary>
    protected DaemonProcess Process => _process!;

    /// <summary>How long the toolstack waits for a backend; libxl's 10 s unless a test has nothing to gain from them.</summary>
    protected virtual TimeSpan? ToolstackPatience => null;

    /// <summary>Of the backend that runs now.</summary>
    protected Quarantine Quarantine { get; private set; } = null!;

    /// <summary>A dom0 connection of the test's own.</summary>
    protected XenStoreClient Store { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        Xen = await SimulatedXenHost.StartAsync(Path.Combine(_directory, "xenstored"), ToolstackPatience);
        Xen.Pci.Plug(Intel82574.At(Nic));
        Xen.Pci.Plug(Ich9.Sata(Sata));
        Xen.Pci.Plug(Ich9.Smbus(Smbus));
        Xen.Pci.Plug(QemuEdu.At(Edu));
        Store = await XenStoreClient.ConnectAsync(Xen.XenStored.Endpoint);
        await StartBackendAsync();
    }

    public async Task DisposeAsync()
    {
        await StopBackendAsync();
        await Store.DisposeAsync();
        await Xen.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Another backend with these settings takes the place of the one that runs.</summary>
    protected async Task RestartBackendAsync(BackendSettings settings)
    {
        await StopBackendAsync();
        await StartBackendAsync(settings: settings);
    }

    /// <summary>The same on a host where the test can step in at every access to one device and at every event.</summary>
    protected async Task<Hooks> RestartWithHooksAsync(HostBdf device, BackendSettings? settings = null)
    {
        Hooks hooks = null!;
        await StopBackendAsync();
        await StartBackendAsync(host =>
        {
            hooks = new Hooks(new HookedPciHost(host.Pci, device), new HookedEventChannels(host.EventChannels));
            return host with { Pci = hooks.Pci, EventChannels = hooks.Ports };
        }, settings);
        return hooks;
    }

    protected async Task StartBackendAsync(Func<XenHost, XenHost>? change = null, BackendSettings? settings = null)
    {
        var ready = CreateTestProbe();
        Sys.EventStream.Subscribe(ready, typeof(BackendEvents.Ready));
        await BeginBackendAsync(change, settings);
        await ready.ExpectMsgAsync<BackendEvents.Ready>(Patience);
        Sys.EventStream.Unsubscribe(ready);
        Sys.Stop(ready);
    }

    /// <summary>The same for one that may never be ready.</summary>
    protected async Task BeginBackendAsync(Func<XenHost, XenHost>? change = null, BackendSettings? settings = null)
    {
        BackendMeters meters;
        (_process, _client, _backend, Quarantine, StatusKeeper, meters) = await StartDaemonAsync(change, settings, standsBy: false);
        Measured = new Measurements(meters);
    }

    /// <summary>Another daemon that is ready to take over.</summary>
    protected async Task<Standby> StartStandbyAsync()
    {
        var ready = CreateTestProbe();
        Sys.EventStream.Subscribe(ready, typeof(BackendEvents.Ready));
        var (process, client, backend, quarantine, _, _) = await StartDaemonAsync(change: null, settings: null, standsBy: true);
        await ready.ExpectMsgAsync<BackendEvents.Ready>(Patience);
        return new Standby(process, client, backend, quarantine);
    }

    /// <summary>It is the turn of the one that stands by; the other one's process has been killed.</summary>
    protected async Task LetTakeOverAsync(Standby next)
    {
        var (client, backend) = (_client!, _backend!);
        (_process, _client, _backend, Quarantine) = next;
        next.Backend.Tell(TakeOver.Instance);
        await backend.GracefulStop(Patience);
        await client.DisposeAsync();
    }

    protected sealed record Standby(DaemonProcess Process, XenStoreClient Client, IActorRef Backend, Quarantine Quarantine);

    private async Task<(DaemonProcess, XenStoreClient, IActorRef, Quarantine, IActorRef, BackendMeters)> StartDaemonAsync(Func<XenHost, XenHost>? change, BackendSettings? settings, bool standsBy)
    {
        var process = Xen.StartProcess();
        var quarantine = new Quarantine(process.Host.LastingRecords);
        var client = await XenStoreClient.ConnectAsync(Xen.XenStored.Endpoint);
        process.Killed.Register(() => _ = client.DisposeAsync().AsTask());
        var (number, meters) = (++_daemons, new BackendMeters(process.Host.Clock));
        var status = Sys.StartHostStatus(client, process.Host, quarantine, meters, "dom0", $"host-status-{number}");
        var backend = Sys.StartPciBackend(client, change?.Invoke(process.Host) ?? process.Host, quarantine, settings ?? Settings, standsBy, number == 1 ? "pci-backend" : $"pci-backend-{number}", meters);
        return (process, client, backend, quarantine, status, meters);
    }

    /// <summary>Ends the backend as the end of its process would: no goodbye to any guest.</summary>
    protected async Task StopBackendAsync()
    {
        if (_backend is null) return;
        await _backend.GracefulStop(Patience);
        await StatusKeeper.GracefulStop(Patience);
        Measured.Dispose();
        await _client!.DisposeAsync();
        _process!.Host.Dispose();
        _backend = null;
    }

    protected async Task<SimulatedGuest> ConnectedGuestAsync(string name, params HostBdf[] devices)
    {
        var guest = await Xen.CreateGuestAsync(name, devices);
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        return guest;
    }

    protected static CancellationToken Soon() => new CancellationTokenSource(Patience).Token;

    protected static XenStorePath BackendOf(SimulatedGuest guest) => SimulatedToolstack.BackendOf(guest.Id);

    protected Task<string?> ReadAsync(SimulatedGuest guest, string node) => Store.ReadAsync(BackendOf(guest) / node);

    protected Task<string?> ReadErrorAsync(SimulatedGuest guest) => Store.ReadAsync(new XenStorePath($"/local/domain/0/error/backend/pci/{guest.Id}/0/error"));

    /// <summary>What the guest reads from a register of the device in this slot.</summary>
    protected static async Task<uint> ReadConfigAsync(SimulatedGuest guest, uint devFn, int offset, int size)
    {
        var answer = await guest.Frontend.ReadConfigAsync(0, 0, devFn, offset, size);
        Assert.Equal((0, false), (answer.Error, answer.TimedOut));
        return answer.Value;
    }

    /// <summary>Asks something of the guest's first device, which is not about config space.</summary>
    protected static Task<FrontendAnswer> AskAsync(SimulatedGuest guest, uint command) => guest.Frontend.SendAsync(new FrontendRequest(command, 0, 0, 0));

    protected static Task<FrontendAnswer> EnableMsixAsync(SimulatedGuest guest, params ushort[] entries) =>
        guest.Frontend.SendAsync(new FrontendRequest(EnableMsix, 0, 0, 0, Value: (uint)entries.Length) { MsixEntries = [.. entries] });

    protected static async Task TurnOnMemoryAsync(SimulatedGuest guest) =>
        Assert.Equal(0, (await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0006)).Error);

    protected static async Task EventuallyAsync<T>(T expected, Func<Task<T>> actual)
    {
        var until = DateTime.UtcNow + Patience;
        while (true)
        {
            var value = await actual();
            if (EqualityComparer<T>.Default.Equals(value, expected) || DateTime.UtcNow > until)
            {
                Assert.Equal(expected, value);
                return;
            }
            await Task.Delay(5);
        }
    }

    protected static Task EventuallyAsync<T>(T expected, Func<T> actual) => EventuallyAsync(expected, () => Task.FromResult(actual()));
}
