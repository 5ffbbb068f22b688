using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Hypervisor;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.Simulation.XenStored;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation;

/// <summary>
/// A whole Xen host in this process: a xenstored on a Unix socket, grants, event channels, PCI devices, a toolstack, and guests
/// with a frontend. A backend gets it through the ports of <see cref="XenHost"/> and cannot tell it from a real one.
/// </summary>
public sealed class SimulatedXenHost : IAsyncDisposable
{
    private readonly XenStoreClient _toolstackStore;
    private readonly ConcurrentDictionary<DomainId, SimulatedGuest> _guests = new();
    private int _lastDomain;

    private SimulatedXenHost(
        EmbeddedXenStored xenStored, XenStoreClient toolstackStore, TimeSpan? toolstackPatience, TimeProvider clock)
    {
        (XenStored, _toolstackStore, Clock) = (xenStored, toolstackStore, clock);
        Toolstack = new SimulatedToolstack(toolstackStore, toolstackPatience, clock)
        {
            Ended = () => Guests.Where(guest => guest.HasEnded).Select(guest => guest.Id),
        };
        XenStored.Refusing = path => Faults.Meet(FaultPoint.StoreReply, GuestOf(path)) is not 0 and var errno ? Errnos.Name(errno) : null;
    }

    /// <summary>By which daemons, toolstack and guests wait.</summary>
    public TimeProvider Clock { get; }

    public EmbeddedXenStored XenStored { get; }
    public SimulatedToolstack Toolstack { get; }
    public SimulatedPciHost Pci { get; } = new();
    public GuestGrants Grants { get; } = new();
    public GuestPorts Ports { get; } = new();
    public DomainPirqs Pirqs { get; } = new();
    public SimulatedAerFeed Aer { get; } = new();
    public MemoryRecords LastingRecords { get; } = new();

    /// <summary>What daemons have put on record to do.</summary>
    public MemoryRecords Intents { get; } = new();

    /// <summary>What daemons have put on record of their guests' devices.</summary>
    public MemoryDeviceRecords DeviceRecords { get; } = new();

    /// <summary>What goes wrong with the calls of every daemon that opens this host.</summary>
    public FaultPoints Faults { get; } = new();

    /// <summary>What the toolstack does with guests that crash; xl's default is to destroy them.</summary>
    public OnCrash OnCrash { get; set; }

    public IReadOnlyCollection<SimulatedGuest> Guests => [.. _guests.Values.OrderBy(g => g.Id.Value)];

    /// <summary>What dom0 holds of guests now.</summary>
    public Held HeldByDom0 => new(Grants.Mapped, Ports.Bound, Pci.OpenFunctions, Pirqs.Mapped);

    /// <param name="socketPath">Where its xenstored listens; at most about 100 bytes.</param>
    /// <param name="toolstackPatience">How long the toolstack waits for a backend to be Connected before each step of a hot-plug: 10 s as in libxl.</param>
    /// <param name="clock">By which daemons, toolstack and guests wait; null: this machine's.</param>
    public static async Task<SimulatedXenHost> StartAsync(
        string socketPath, TimeSpan? toolstackPatience = null, TimeProvider? clock = null)
    {
        var xenStored = EmbeddedXenStored.Start(socketPath);
        try
        {
            var store = await XenStoreClient.ConnectAsync(xenStored.Endpoint).ConfigureAwait(false);
            return new SimulatedXenHost(xenStored, store, toolstackPatience, clock ?? TimeProvider.System);
        }
        catch
        {
            await xenStored.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// What one daemon process opens. Disposing it is that process's end: its mappings and ports go, the guests' ends stay, and
    /// opening another one is the daemon's restart.
    /// </summary>
    public XenHost OpenHost() => StartProcess().Host;

    /// <summary>The same for a process that can be killed.</summary>
    public DaemonProcess StartProcess()
    {
        var killed = new CancellationTokenSource();
        var parts = new XenHost(
            new SimulatedGrantTable(Grants), new SimulatedEventChannels(Ports),
            new SimulatedHypervisor(BeginCrash, _guests.ContainsKey), new SimulatedGuestPirqs(Pirqs, Pci),
            Pci.OfOneProcess(), Aer.OfOneDaemon())
        {
            Toolstack = Toolstack,
            DeviceRecords = DeviceRecords.OfOneDaemon(killed.Token),
            Intents = Intents,
            LastingRecords = LastingRecords,
            Clock = Clock,
        };
        return new DaemonProcess(parts, Faults, killed);
    }

    /// <summary><c>xl create</c>: a new domain with devices, and its frontend started. Returns before it is connected.</summary>
    /// <param name="deviceOptions">The <c>opts-N</c> of each device.</param>
    public async Task<SimulatedGuest> CreateGuestAsync(
        string name, IReadOnlyCollection<HostBdf> devices, FrontendOptions? frontend = null, string deviceOptions = PciDeviceOptions.Default)
    {
        var id = new DomainId(Interlocked.Increment(ref _lastDomain));
        XenStored.IntroduceDomain(id.Value);
        await Toolstack.CreateDomainAsync(id, name).ConfigureAwait(false);
        foreach (var device in devices) await Toolstack.AddAtCreationAsync(id, device, deviceOptions).ConfigureAwait(false);
        var store = await XenStored.ConnectAsDomain(id.Value).ConfigureAwait(false);
        var options = frontend ?? new FrontendOptions();
        if (options.Clock is null) options = options with { Clock = Clock };
        var driver = await SimulatedFrontend.StartAsync(id, store, Grants, Ports, options).ConfigureAwait(false);
        return _guests[id] = new SimulatedGuest(id, name, driver);
    }

    /// <summary><c>xl destroy</c>: devices detached while the guest still runs, then the domain ends and its nodes are removed.</summary>
    public async Task DestroyGuestAsync(SimulatedGuest guest)
    {
        await Toolstack.RemoveDevicesAsync(guest.Id).ConfigureAwait(false);
        await EndDomainAsync(guest).ConfigureAwait(false);
    }

    /// <summary>
    /// The guest shuts down in good order: its frontend closes, then the toolstack cleans up as for <c>xl destroy</c>. To a backend that
    /// has followed the frontend to Closed, and stays there, the toolstack's patience passes for each device, as with libxl.
    /// </summary>
    public async Task ShutDownGuestAsync(SimulatedGuest guest)
    {
        await guest.Frontend.CloseAsync().ConfigureAwait(false);
        guest.ShutDown();
        XenStored.AnnounceShutdown();
        await DestroyGuestAsync(guest).ConfigureAwait(false);
    }

    /// <summary>The guest is gone from one moment to the next: no state is written, pages and ports vanish, and no toolstack has cleaned up yet.</summary>
    public async Task CrashGuestAsync(SimulatedGuest guest)
    {
        _guests.TryRemove(guest.Id, out _);
        await guest.Frontend.DisposeAsync().ConfigureAwait(false);
        Ports.CloseAll(guest.Id);
        Grants.RevokeAll(guest.Id);
        Pirqs.EndDomain(guest.Id);
        XenStored.AnnounceShutdown();
    }

    // A crashed domain stays, with its memory, until its toolstack has taken it down; its vCPUs run no more at once.
    private bool BeginCrash(DomainId domain)
    {
        if (!_guests.TryGetValue(domain, out var guest)) return false;
        if (guest.TryCrash()) _ = Task.Run(() => FinishCrashAsync(guest));
        return true;
    }

    private async Task FinishCrashAsync(SimulatedGuest guest)
    {
        await guest.Frontend.StopAsync().ConfigureAwait(false);
        XenStored.AnnounceShutdown();
        if (OnCrash == OnCrash.Preserve) return;
        var devices = await Toolstack.DevicesAsync(guest.Id).ConfigureAwait(false);
        await DestroyGuestAsync(guest).ConfigureAwait(false);
        if (OnCrash == OnCrash.Restart) await CreateGuestAsync(guest.Name, devices).ConfigureAwait(false);
    }

    /// <summary>xenstored ends and comes back. Returns when the toolstack has found it again.</summary>
    /// <param name="keepState">Whether it comes back with what it had, as after a live update, or empty, as after its death.</param>
    public async Task RestartXenStoredAsync(bool keepState = true)
    {
        var found = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnFound() => found.TrySetResult();
        _toolstackStore.Reconnected += OnFound;
        await XenStored.RestartAsync(keepState).ConfigureAwait(false);
        await found.Task.ConfigureAwait(false);
        _toolstackStore.Reconnected -= OnFound;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var guest in _guests.Values) await guest.Frontend.DisposeAsync().ConfigureAwait(false);
        await _toolstackStore.DisposeAsync().ConfigureAwait(false);
        await XenStored.DisposeAsync().ConfigureAwait(false);
    }

    private async Task EndDomainAsync(SimulatedGuest guest)
    {
        await CrashGuestAsync(guest).ConfigureAwait(false);
        await Toolstack.RemoveDomainAsync(guest.Id).ConfigureAwait(false);
        XenStored.ReleaseDomain(guest.Id.Value);
    }

    // Whose backend directory it is, or lies below: /local/domain/0/backend/pci/D/...
    private static DomainId? GuestOf(XenStorePath path) =>
        path.Text.Split('/') is ["", "local", "domain", "0", "backend", "pci", var guest, ..] && DomainId.TryParse(guest, out var id) ? id : null;
}
