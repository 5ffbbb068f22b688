using System.Globalization;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Toolstack;

/// <summary>
/// Writes to the store what libxl writes for PCI devices: the same nodes, values, permissions, transactions and order. The
/// hypercalls libxl makes in between have no counterpart here.
/// </summary>
/// <remarks>Source: Xen 4.17 tools/libs/light/libxl_pci.c and libxl_device.c; PCI backends are in dom0 with devid 0.</remarks>
/// <param name="store">A connection that acts as dom0. Not disposed here.</param>
/// <param name="backendPatience">How long a change waits for the backend to be Connected; libxl: 100 times 100 ms.</param>
/// <param name="clock">By which it waits; null: this machine's.</param>
public sealed class SimulatedToolstack(
    XenStoreClient store, TimeSpan? backendPatience = null, TimeProvider? clock = null) : IToolstack
{
    private const int Initialising = 1, Connected = 4, Closing = 5, Reconfiguring = 7;

    private static readonly XenStorePath Domains = XenStorePath.Root / "local/domain";

    private readonly TimeSpan _backendPatience = backendPatience ?? TimeSpan.FromSeconds(10);

    /// <summary><c>/local/domain/0/backend/pci/D/0</c></summary>
    public static XenStorePath BackendOf(DomainId guest) => Domains / "0/backend/pci" / guest.Value / 0;

    /// <summary><c>/local/domain/D/device/pci/0</c></summary>
    public static XenStorePath FrontendOf(DomainId guest) => Domains / guest.Value / "device/pci/0";

    /// <summary>The home of a new domain, as far as anybody looks at it.</summary>
    /// <param name="type">What <c>/libxl/D/type</c> says: pv, pvh or hvm.</param>
    public Task CreateDomainAsync(DomainId guest, string name, string type = "pv") => store.TransactAsync(async tx =>
    {
        var home = Domains / guest.Value;
        await CreateDirectoryAsync(home, [new(XenStoreAccess.None, 0), new(XenStoreAccess.Read, guest.Value)], tx).ConfigureAwait(false);
        foreach (var writable in (string[])["data", "drivers", "feature", "attr", "error", "control/shutdown"])
            await CreateDirectoryAsync(home / writable, [new(XenStoreAccess.None, guest.Value)], tx).ConfigureAwait(false);
        await CreateDirectoryAsync(home / "device", [new(XenStoreAccess.None, 0), new(XenStoreAccess.Read, guest.Value)], tx).ConfigureAwait(false);
        await store.WriteAsync(home / "name", name, tx).ConfigureAwait(false);
        await store.WriteAsync(home / "domid", $"{guest}", tx).ConfigureAwait(false);
        await store.WriteAsync(home / "vm", $"/vm/{Guid.NewGuid()}", tx).ConfigureAwait(false);
        await store.WriteAsync(XenStorePath.Root / "libxl" / guest.Value / "type", type, tx).ConfigureAwait(false);
    });

    /// <summary>One of the devices a domain is created with; each is a transaction of its own.</summary>
    public Task AddAtCreationAsync(DomainId guest, HostBdf device, string options = PciDeviceOptions.Default) => AddAsync(guest, device, options, isRunning: false);

    /// <summary><c>xl pci-attach</c> to a running domain.</summary>
    /// <exception cref="TimeoutException">The backend was not Connected in time ("Backend ... not ready").</exception>
    public async Task AttachAsync(DomainId guest, HostBdf device, string options = PciDeviceOptions.Default)
    {
        if (await store.ExistsAsync(BackendOf(guest) / "num_devs").ConfigureAwait(false)) await WaitForBackendAsync(guest).ConfigureAwait(false);
        await AddAsync(guest, device, options, isRunning: true).ConfigureAwait(false);
    }

    /// <summary><c>xl pci-detach</c>: asks the backend, waits, then removes the entry and moves those behind it down.</summary>
    /// <exception cref="TimeoutException">The backend was not Connected in time; the entry stays.</exception>
    /// <exception cref="ArgumentException">The domain does not have the device.</exception>
    public async Task DetachAsync(DomainId guest, HostBdf device)
    {
        var backend = BackendOf(guest);
        await WaitForBackendAsync(guest).ConfigureAwait(false);
        await store.TransactAsync(async tx =>
        {
            var index = await FindAsync(guest, device, tx).ConfigureAwait(false);
            await store.WriteAsync(backend / $"state-{index}", $"{Closing}", tx).ConfigureAwait(false);
            await store.WriteAsync(backend / "state", $"{Reconfiguring}", tx).ConfigureAwait(false);
        }).ConfigureAwait(false);
        await WaitForBackendAsync(guest).ConfigureAwait(false);
        await store.TransactAsync(async tx => await RemoveEntryAsync(guest, await FindAsync(guest, device, tx).ConfigureAwait(false), tx).ConfigureAwait(false)).ConfigureAwait(false);
        await store.RemoveAsync(AssignmentOf(device)).ConfigureAwait(false);
    }

    /// <summary>Whom <see cref="EndedAsync"/> tells of.</summary>
    public Func<IEnumerable<DomainId>> Ended { get; init; } = () => [];

    public Task<IReadOnlySet<DomainId>> EndedAsync() => Task.FromResult<IReadOnlySet<DomainId>>(Ended().ToHashSet());

    Task<string?> IToolstack.DetachAsync(DomainId guest, HostBdf device) => FaultOfAsync(DetachAsync(guest, device));

    Task<string?> IToolstack.AttachAsync(DomainId guest, HostBdf device, string? options) => FaultOfAsync(AttachAsync(guest, device, options ?? PciDeviceOptions.Default));

    private static async Task<string?> FaultOfAsync(Task change)
    {
        try
        {
            await change.ConfigureAwait(false);
            return null;
        }
        catch (Exception e) when (e is TimeoutException or XenStoreException or ArgumentException)
        {
            return e.Message;
        }
    }

    /// <summary>The PCI part of <c>xl destroy</c> (and of the end of a domain that has shut down): every device detached, whatever it takes.</summary>
    public async Task RemoveDevicesAsync(DomainId guest)
    {
        foreach (var device in await DevicesAsync(guest).ConfigureAwait(false))
        {
            try
            {
                await DetachAsync(guest, device).ConfigureAwait(false);
            }
            catch (Exception e) when (e is TimeoutException or XenStoreErrorReplyException or ArgumentException)
            {
                // libxl logs and goes on: the domain is going away in any case.
                await store.RemoveAsync(AssignmentOf(device)).ConfigureAwait(false);
            }
        }
    }

    /// <summary>What is left of a domain's nodes. libxl leaves a backend directory whose devices did not detach.</summary>
    public async Task RemoveDomainAsync(DomainId guest)
    {
        await store.RemoveAsync(Domains / guest.Value).ConfigureAwait(false);
        await store.RemoveAsync(XenStorePath.Root / "libxl" / guest.Value).ConfigureAwait(false);
    }

    /// <summary>The devices of <c>xl pci-list</c>.</summary>
    public async Task<IReadOnlyList<HostBdf>> DevicesAsync(DomainId guest)
    {
        var devices = new List<HostBdf>();
        for (var i = 0; i < await CountAsync(guest, null).ConfigureAwait(false); i++)
            if (HostBdf.TryParse(await store.ReadAsync(BackendOf(guest) / $"dev-{i}").ConfigureAwait(false), out var device)) devices.Add(device);
        return devices;
    }

    private async Task AddAsync(DomainId guest, HostBdf device, string options, bool isRunning)
    {
        await store.WriteAsync(AssignmentOf(device), $"{guest}").ConfigureAwait(false);
        await store.TransactAsync(async tx =>
        {
            var backend = BackendOf(guest);
            var index = await CountAsync(guest, tx).ConfigureAwait(false);
            if (index == 0) await CreateDirectoriesAsync(guest, tx).ConfigureAwait(false);
            await store.WriteAsync(backend / $"key-{index}", $"{device}", tx).ConfigureAwait(false);
            await store.WriteAsync(backend / $"dev-{index}", $"{device}", tx).ConfigureAwait(false);
            await store.WriteAsync(backend / $"opts-{index}", options, tx).ConfigureAwait(false);
            await store.WriteAsync(backend / $"state-{index}", $"{Initialising}", tx).ConfigureAwait(false);
            await store.WriteAsync(backend / "num_devs", $"{index + 1}", tx).ConfigureAwait(false);
            if (isRunning && index > 0) await store.WriteAsync(backend / "state", $"{Reconfiguring}", tx).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    private async Task CreateDirectoriesAsync(DomainId guest, XenStoreTransaction tx)
    {
        var (frontend, backend) = (FrontendOf(guest), BackendOf(guest));
        await CreateDirectoryAsync(frontend, [new(XenStoreAccess.None, guest.Value), new(XenStoreAccess.Read, 0)], tx).ConfigureAwait(false);
        await store.WriteAsync(frontend / "backend", backend.Text, tx).ConfigureAwait(false);
        await store.WriteAsync(frontend / "backend-id", "0", tx).ConfigureAwait(false);
        await store.WriteAsync(frontend / "state", $"{Initialising}", tx).ConfigureAwait(false);

        await CreateDirectoryAsync(backend, [new(XenStoreAccess.None, 0), new(XenStoreAccess.Read, guest.Value)], tx).ConfigureAwait(false);
        await store.WriteAsync(backend / "frontend", frontend.Text, tx).ConfigureAwait(false);
        await store.WriteAsync(backend / "frontend-id", $"{guest}", tx).ConfigureAwait(false);
        await store.WriteAsync(backend / "online", "1", tx).ConfigureAwait(false);
        await store.WriteAsync(backend / "state", $"{Initialising}", tx).ConfigureAwait(false);
        await store.WriteAsync(backend / "domain", await store.ReadAsync(Domains / guest.Value / "name", tx).ConfigureAwait(false) ?? "", tx).ConfigureAwait(false);
    }

    /// <summary>Removes whatever was there, as libxl does, so that the permissions are those of a new node.</summary>
    private async Task CreateDirectoryAsync(XenStorePath path, XenStorePermission[] permissions, XenStoreTransaction tx)
    {
        if (await store.ExistsAsync(path, tx).ConfigureAwait(false)) await store.RemoveAsync(path, tx).ConfigureAwait(false);
        await store.MakeDirectoryAsync(path, tx).ConfigureAwait(false);
        await store.SetPermissionsAsync(path, permissions, tx).ConfigureAwait(false);
    }

    private async Task RemoveEntryAsync(DomainId guest, int index, XenStoreTransaction tx)
    {
        var backend = BackendOf(guest);
        var count = await CountAsync(guest, tx).ConfigureAwait(false);
        if (count == 1)
        {
            await CleanUpAsync(Domains / guest.Value, ["device", "pci", "0"], tx).ConfigureAwait(false);
            await CleanUpAsync(Domains / 0, ["backend", "pci", $"{guest}", "0"], tx).ConfigureAwait(false);
            return;
        }
        foreach (var name in (string[])["state", "key", "dev", "vdev", "opts", "vdevfn", "name"])
        {
            for (var i = index; i < count; i++)
            {
                var above = i + 1 < count ? await store.ReadAsync(backend / $"{name}-{i + 1}", tx).ConfigureAwait(false) : null;
                if (above is not null) await store.WriteAsync(backend / $"{name}-{i}", above, tx).ConfigureAwait(false);
                else if (await store.ExistsAsync(backend / $"{name}-{i}", tx).ConfigureAwait(false)) await store.RemoveAsync(backend / $"{name}-{i}", tx).ConfigureAwait(false);
            }
        }
        await store.WriteAsync(backend / "num_devs", $"{count - 1}", tx).ConfigureAwait(false);
    }

    /// <summary>Removes a directory, then each one above it that is left with neither value nor children (libxl__xs_path_cleanup).</summary>
    private async Task CleanUpAsync(XenStorePath home, string[] names, XenStoreTransaction tx)
    {
        await store.RemoveAsync(home / string.Join('/', names), tx).ConfigureAwait(false);
        for (var depth = names.Length - 1; depth > 0; depth--)
        {
            var parent = home / string.Join('/', names[..depth]);
            if (await store.ReadAsync(parent, tx).ConfigureAwait(false) is not "" || await store.ListAsync(parent, tx).ConfigureAwait(false) is not []) return;
            await store.RemoveAsync(parent, tx).ConfigureAwait(false);
        }
    }

    private async Task<int> FindAsync(DomainId guest, HostBdf device, XenStoreTransaction tx)
    {
        for (var i = 0; i < await CountAsync(guest, tx).ConfigureAwait(false); i++)
            if (await store.ReadAsync(BackendOf(guest) / $"dev-{i}", tx).ConfigureAwait(false) == device.ToString()) return i;
        throw new ArgumentException($"domain {guest} does not have {device}", nameof(device));
    }

    private async Task<int> CountAsync(DomainId guest, XenStoreTransaction? tx) =>
        int.TryParse(await store.ReadAsync(BackendOf(guest) / "num_devs", tx).ConfigureAwait(false), NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : 0;

    private async Task WaitForBackendAsync(DomainId guest)
    {
        using var patience = new CancellationTokenSource(_backendPatience, clock ?? TimeProvider.System);
        var changed = new SemaphoreSlim(0);
        var state = BackendOf(guest) / "state";
        await using var watch = await store.WatchAsync(state, () => changed.Release()).ConfigureAwait(false);
        try
        {
            while (await store.ReadAsync(state).ConfigureAwait(false) != $"{Connected}")
            {
                await changed.WaitAsync(patience.Token).ConfigureAwait(false);
                watch.Accept();
            }
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"Backend {BackendOf(guest)} not ready");
        }
    }

    /// <summary>Where libxl notes who has a device: <c>/libxl/pci/0000-03-00-0/domid</c>.</summary>
    private static XenStorePath AssignmentOf(HostBdf device) =>
        XenStorePath.Root / "libxl/pci" / $"{device.Segment:x4}-{device.Bus:x2}-{device.Slot:x2}-{device.Function:x1}" / "domid";
}

/// <summary>The texts of <c>opts-N</c>.</summary>
public static class PciDeviceOptions
{
    public const string Default = "msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict";
    public const string Permissive = "msitranslate=0,power_mgmt=0,permissive=1,rdm_policy=strict";
}
