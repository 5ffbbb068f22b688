using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Guests;

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
        if (backend is null) return new ConnectionInput.Observed(null, null) { IsDomainUnknown = !await client.IsDomainIntroducedAsync(directory.Guest.Value).ConfigureAwait(false) };
        if (!XenStorePath.TryParse(backend.Frontend, out var path) || !path.IsAbsolute)
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

    // All that is there is asked for at once: a guest taken up waits for it.
    private async Task<BackendNodes?> ReadBackendAsync(XenStoreTransaction tx)
    {
        if (await client.ListAsync(directory.Path, tx).ConfigureAwait(false) is not { } names) return null;
        var reads = names.Where(BackendNodes.Knows).ToDictionary(name => name, name => client.ReadAsync(directory.Path / name, tx));
        // Other domains cannot read it; libxl has its backends in dom0.
        var guestType = directory.Backend == DomainId.Zero ? client.ReadAsync(directory.GuestTypePath, tx) : Task.FromResult<string?>(null);
        await Task.WhenAll(reads.Values.Append(guestType)).ConfigureAwait(false);
        string? Read(string name) => reads.TryGetValue(name, out var read) ? read.Result : null;

        var count = Read("num_devs");
        return new BackendNodes(Read("frontend"), Read("frontend-id"), Read("online"), Read("state"), count,
            [.. Indices(count, BackendNodes.MostDevices).Select(i => new DeviceNodes(i, Read($"dev-{i}"), Read($"state-{i}"), Read($"vdev-{i}"), Read($"opts-{i}")))])
        {
            GuestName = Read("domain"),
            Roots = [.. Indices(Read("root_num"), BackendNodes.MostRoots).Select(i => Read($"root-{i}"))],
            GuestType = guestType.Result,
        };
    }

    /// <summary>0 to <paramref name="count"/> - 1; none if that is no number, or a senseless one.</summary>
    private static IEnumerable<int> Indices(string? count, int most) =>
        int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= most ? Enumerable.Range(0, number) : [];

    private async Task<FrontendNodes?> ReadFrontendAsync(XenStorePath path)
    {
        Task<string?> Read(string name) => client.ReadAsync(path / name);

        // The state first: a guest writes it after the nodes it speaks of.
        var state = await Read("state").ConfigureAwait(false);
        if (state is null && !await client.ExistsAsync(path).ConfigureAwait(false)) return null;
        var (reference, port, magic) = (Read("pci-op-ref"), Read("event-channel"), Read("magic"));
        await Task.WhenAll(reference, port, magic).ConfigureAwait(false);
        return new FrontendNodes(state, reference.Result, port.Result, magic.Result);
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
