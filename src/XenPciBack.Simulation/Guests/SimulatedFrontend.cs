using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.Hypervisor;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Guests;

/// <summary>
/// A guest's pcifront, written from the specification and sharing no code with the backend: it knows the store through its
/// own domain's eyes, one page of its own, and one event channel.
/// <code>
///   Initialising --page, port and magic published--> Initialised --backend Connected: roots scanned--> Connected
///   Connected --backend Reconfiguring: devices marked for removal dropped--> Reconfiguring
///   Reconfiguring --backend Reconfigured: roots scanned again--> Connected
///   any below Closing --backend Closing or Closed: all devices dropped--> Closed
/// </code>
/// </summary>
/// <remarks>Behaviour: Linux drivers/pci/xen-pcifront.c.</remarks>
public sealed partial class SimulatedFrontend : IAsyncDisposable
{
    // xenbus states, include/xen/interface/io/xenbus.h.
    private const int Unknown = 0, Initialising = 1, Initialised = 3, Connected = 4, Closing = 5, Closed = 6, Reconfiguring = 7, Reconfigured = 8;

    private readonly XenStoreClient _store;
    private readonly FrontendOptions _options;
    private readonly TimeProvider _clock;
    private readonly XenStorePath _home;
    private readonly XenStorePath _directory;
    private readonly FrontendPage _page;
    private readonly GuestPort _port;
    private readonly GrantReference _grant;
    private readonly GuestGrants _grants;
    private readonly CancellationTokenSource _stopping = new();
    private Task _run = Task.CompletedTask;
    private TaskCompletionSource _changed = NewSignal();

    private SimulatedFrontend(DomainId domain, XenStoreClient store, GuestGrants grants, GuestPorts ports, FrontendOptions options)
    {
        (Domain, _store, _grants, _options) = (domain, store, grants, options);
        _clock = options.Clock ?? TimeProvider.System;
        _home = XenStorePath.Root / "local/domain" / domain.Value;
        _directory = _home / "device/pci/0";
        Page = new GuestPage();
        _page = new FrontendPage(Page, options.TakesAer);
        _grant = grants.Grant(domain, Page);
        _port = ports.Allocate(domain);
    }

    public DomainId Domain { get; }

    /// <summary>Its xenbus state as it last wrote it, 0 before that and after its directory is gone.</summary>
    public int State { get; private set; }

    /// <summary>The devices the guest has found, in the order of their addresses.</summary>
    public ImmutableArray<GuestPciDevice> Devices { get; private set; } = [];

    /// <summary>The page it shares with the backend, for a test that plays a hostile guest.</summary>
    public GuestPage Page { get; }

    /// <summary>Its end of the event channel, for the same purpose.</summary>
    public GuestPort Port => _port;

    /// <summary>Starts the driver in a guest. It waits for its device directory, whenever that comes.</summary>
    /// <param name="store">A connection that acts as <paramref name="domain"/>; disposed with the frontend.</param>
    public static async Task<SimulatedFrontend> StartAsync(DomainId domain, XenStoreClient store, GuestGrants grants, GuestPorts ports, FrontendOptions? options = null)
    {
        var frontend = new SimulatedFrontend(domain, store, grants, ports, options ?? new FrontendOptions());
        frontend._events = frontend.TakeEventsAsync();
        if (frontend._options.IsSilent) return frontend;
        frontend._ownWatch = await store.WatchAsync(frontend._directory, frontend.Wake).ConfigureAwait(false);
        frontend._run = frontend.RunAsync();
        return frontend;
    }

    /// <summary>Waits until something about the frontend is so.</summary>
    /// <exception cref="OperationCanceledException">It was not so in time.</exception>
    public async Task WaitUntilAsync(Func<SimulatedFrontend, bool> isSo, CancellationToken ct)
    {
        while (true)
        {
            var changed = Volatile.Read(ref _changed).Task;
            if (isSo(this)) return;
            if (await Task.WhenAny(changed, _run).WaitAsync(ct).ConfigureAwait(false) == _run) await _run.WaitAsync(ct).ConfigureAwait(false);
            await changed.WaitAsync(ct).ConfigureAwait(false);
        }
    }

    /// <summary>Waits until it is connected and has scanned its buses.</summary>
    public Task WaitUntilConnectedAsync(CancellationToken ct) => WaitUntilAsync(f => f.State == Connected, ct);

    /// <summary>The guest shuts down in good order: Closing.</summary>
    public Task CloseAsync() => WriteStateAsync(Closing);

    /// <summary>The driver is unbound in a guest that goes on: the devices are gone, Closed.</summary>
    public Task UnbindAsync() => DropAllAsync();

    /// <summary>The driver is bound again. Where it finds a backend that is Closed it gives up at once, as Linux's does.</summary>
    public async Task BindAsync()
    {
        await PublishAsync().ConfigureAwait(false);
        Wake();
    }

    /// <summary>Writes any state, whatever the protocol says. Nothing is written once the directory is gone.</summary>
    public async Task WriteStateAsync(int state)
    {
        var written = await _store.TransactAsync(async tx =>
        {
            if (await _store.ReadAsync(_directory / "state", tx).ConfigureAwait(false) is null) return false;
            await _store.WriteAsync(_directory / "state", $"{state}", tx).ConfigureAwait(false);
            return true;
        }).ConfigureAwait(false);
        State = written ? state : Unknown;
        Signal();
    }

    /// <summary>The guest stops at once, as when it is destroyed: no state is written.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        await _store.DisposeAsync().ConfigureAwait(false);
        _grants.Revoke(Domain, _grant);
        _port.Close();
    }

    /// <summary>The guest runs no more; its page and its port are still there.</summary>
    internal async Task StopAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _run.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _events.ConfigureAwait(false);
    }

    private void Signal() => Interlocked.Exchange(ref _changed, NewSignal()).TrySetResult();

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
