using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Actors;

/// <summary>The two directories of one connection in xenstore, and the watches on them. Used by one caller at a time.</summary>
internal sealed class ConnectionStore(XenStoreClient client, BackendDirectory directory, Action onChange) : IAsyncDisposable
{
    private XenStoreWatch? _backendWatch;
    private XenStoreWatch? _frontendWatch;

    /// <summary>
    /// Reads both directories, the backend's in one transaction: a toolstack that moves entries at the same moment is seen
    /// before or after, never in between. From the first call on, a later change calls onChange once.
    /// </summary>
    public async Task<ConnectionInput.Observed> ReadAsync()
    {
        _backendWatch ??= await client.WatchAsync(directory.Path, onChange).ConfigureAwait(false);
        // Accepted before anything is read, so that a change while reading is news.
        _backendWatch.Accept();
        _frontendWatch?.Accept();

        var backend = await client.TransactAsync(ReadBackendAsync).ConfigureAwait(false);
        if (backend is null || !XenStorePath.TryParse(backend.Frontend, out var path) || !path.IsAbsolute)
            return new ConnectionInput.Observed(backend, null);

        await WatchFrontendAsync(path / "state").ConfigureAwait(false);
        return new ConnectionInput.Observed(backend, await ReadFrontendAsync(path).ConfigureAwait(false));
    }

    /// <summary>Writes nodes of the backend directory together, unless it is gone: a removed directory must stay removed.</summary>
    public Task WriteAsync(ImmutableArray<(string Name, string Value)> nodes) => client.TransactAsync(async tx =>
    {
        if (await client.ReadAsync(directory.Path / "state", tx).ConfigureAwait(false) is null) return;
        foreach (var (name, value) in nodes) await client.WriteAsync(directory.Path / name, value, tx).ConfigureAwait(false);
    });

    /// <summary>Leaves the error where xenbus drivers leave it, for the toolstack and the administrator.</summary>
    public Task RecordErrorAsync(int errno, string text) =>
        client.WriteAsync(directory.ErrorPath, string.Create(CultureInfo.InvariantCulture, $"{errno} {text}"));

    public async ValueTask DisposeAsync()
    {
        if (_backendWatch is not null) await _backendWatch.DisposeAsync().ConfigureAwait(false);
        if (_frontendWatch is not null) await _frontendWatch.DisposeAsync().ConfigureAwait(false);
    }

    private async Task<BackendNodes?> ReadBackendAsync(XenStoreTransaction tx)
    {
        if (!await client.ExistsAsync(directory.Path, tx).ConfigureAwait(false)) return null;
        Task<string?> Read(string name) => client.ReadAsync(directory.Path / name, tx);

        var count = await Read("num_devs").ConfigureAwait(false);
        var devices = ImmutableArray.CreateBuilder<DeviceNodes>();
        if (int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= BackendNodes.MostDevices)
            for (var i = 0; i < number; i++)
                devices.Add(new DeviceNodes(i,
                    await Read($"dev-{i}").ConfigureAwait(false), await Read($"state-{i}").ConfigureAwait(false), await Read($"vdev-{i}").ConfigureAwait(false),
                    await Read($"opts-{i}").ConfigureAwait(false)));

        var roots = ImmutableArray.CreateBuilder<string?>();
        if (int.TryParse(await Read("root_num").ConfigureAwait(false), NumberStyles.None, CultureInfo.InvariantCulture, out var rootCount) && rootCount <= BackendNodes.MostRoots)
            for (var i = 0; i < rootCount; i++)
                roots.Add(await Read($"root-{i}").ConfigureAwait(false));

        return new BackendNodes(
            await Read("frontend").ConfigureAwait(false), await Read("frontend-id").ConfigureAwait(false),
            await Read("online").ConfigureAwait(false), await Read("state").ConfigureAwait(false), count, devices.ToImmutable())
        {
            GuestName = await Read("domain").ConfigureAwait(false),
            Roots = roots.ToImmutable(),
            // Other domains cannot read it; libxl has its backends in dom0.
            GuestType = directory.Backend == DomainId.Zero ? await client.ReadAsync(directory.GuestTypePath, tx).ConfigureAwait(false) : null,
        };
    }

    private async Task<FrontendNodes?> ReadFrontendAsync(XenStorePath path)
    {
        Task<string?> Read(string name) => client.ReadAsync(path / name);

        // The state first: a guest writes it after the nodes it speaks of.
        var state = await Read("state").ConfigureAwait(false);
        if (state is null && !await client.ExistsAsync(path).ConfigureAwait(false)) return null;
        return new FrontendNodes(state,
            await Read("pci-op-ref").ConfigureAwait(false), await Read("event-channel").ConfigureAwait(false), await Read("magic").ConfigureAwait(false));
    }

    private async Task WatchFrontendAsync(XenStorePath state)
    {
        if (_frontendWatch?.Path == state) return;
        if (_frontendWatch is not null) await _frontendWatch.DisposeAsync().ConfigureAwait(false);
        _frontendWatch = await client.WatchAsync(state, onChange).ConfigureAwait(false);
    }
}

/// <summary>Where a connection lives in xenstore: <c>/local/domain/B/backend/pci/&lt;domid&gt;/&lt;devid&gt;</c>.</summary>
public sealed record BackendDirectory(DomainId Backend, DomainId Guest, int DeviceId)
{
    public XenStorePath Path => RootOf(Backend) / Guest.Value / DeviceId;

    public XenStorePath ErrorPath => XenStorePath.DomainHome(Backend.Value) / $"error/backend/pci/{Guest}/{DeviceId}/error";

    /// <summary>Where libxl notes what kind of domain the guest is.</summary>
    public XenStorePath GuestTypePath => XenStorePath.Root / "libxl" / Guest.Value / "type";

    /// <summary>The directory that holds one directory for each guest.</summary>
    public static XenStorePath RootOf(DomainId backend) => XenStorePath.DomainHome(backend.Value) / "backend/pci";

    /// <summary>libxl only ever uses devid 0, so that is left unsaid.</summary>
    public string ActorName => DeviceId == 0 ? $"guest-{Guest}" : string.Create(CultureInfo.InvariantCulture, $"guest-{Guest}-{DeviceId}");

    public override string ToString() => Path.ToString();
}
