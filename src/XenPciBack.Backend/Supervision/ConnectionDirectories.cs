using System.Globalization;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Supervision;

/// <summary>All the connection directories below <c>backend/pci</c>, and the watches that tell when to look again.</summary>
internal sealed class ConnectionDirectories(XenStoreClient client, DomainId backend, Action onChange, Action onDomainReleased) : IAsyncDisposable
{
    private readonly XenStorePath _root = BackendDirectory.RootOf(backend);

    // The directories that were found by the last listing. Read by the client's reader.
    private volatile HashSet<XenStorePath> _listed = [];
    private XenStoreWatch? _changes;
    private XenStoreWatch? _releases;

    /// <summary>Lists the directories. From the first call on, one that comes or goes later calls onChange
    /// once.</summary>
    public async Task<IReadOnlyList<BackendDirectory>> ListAsync()
    {
        _changes ??= await client.WatchAsync(_root, onChange, Concerns).ConfigureAwait(false);
        _changes.Accept();
        var listed = await GuestDevices.ListDirectoriesAsync(client, backend).ConfigureAwait(false);
        _listed = listed.Select(directory => directory.Path).ToHashSet();
        return listed;
    }

    /// <summary>What names the domain beside its id; null if there is nothing, or no such domain.</summary>
    public Task<string?> ReadVmAsync(DomainId guest) => client.ReadAsync(XenStorePath.DomainHome(guest.Value) / "vm");

    public Task<bool> IsIntroducedAsync(DomainId guest) => client.IsDomainIntroducedAsync(guest.Value);

    /// <summary>
    /// Removes directories whose domain is gone. libxl leaves one behind whenever a guest has shut down by itself: it waits for a
    /// backend in state 4, which a closed connection never reaches again, and gives up.
    /// From the first call on, the end of a domain calls onDomainReleased once.
    /// </summary>
    /// <returns>What was removed.</returns>
    public async Task<IReadOnlyList<BackendDirectory>> RemoveStaleAsync()
    {
        _releases ??= await client.WatchAsync(XenStorePath.ReleaseDomain, onDomainReleased).ConfigureAwait(false);
        _releases.Accept();
        var removed = new List<BackendDirectory>();
        foreach (var directory in await ListAsync().ConfigureAwait(false))
            if (await IsStaleAsync(directory).ConfigureAwait(false))
            {
                await RemoveAsync(directory).ConfigureAwait(false);
                removed.Add(directory);
            }
        return removed;
    }

    /// <summary>
    /// Says that a guest's device is lost, in the classic node, which a toolstack may watch as xend did, and in the error node.
    /// A directory that is gone stays gone.
    /// </summary>
    public Task RecordLossAsync(BackendDirectory directory, string text) => client.TransactAsync(async tx =>
    {
        if (await client.ReadAsync(directory.Path / "state", tx).ConfigureAwait(false) is null) return;
        await client.WriteAsync(directory.Path / "aerState", "aerfail", tx).ConfigureAwait(false);
        await client.WriteAsync(directory.ErrorPath, string.Create(CultureInfo.InvariantCulture, $"{Errnos.EIO} {text}"), tx).ConfigureAwait(false);
    });

    public async ValueTask DisposeAsync()
    {
        if (_changes is not null) await _changes.DisposeAsync().ConfigureAwait(false);
        if (_releases is not null) await _releases.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>A write below one guest is that guest's own, and must not have all the guests listed.</summary>
    private bool Concerns(XenStorePath changed)
    {
        if (changed == _root || !changed.IsAtOrBelow(_root)) return true;
        // .../backend/pci/GUEST/DEVICE/node
        var names = changed.Text[(_root.Text.Length + 1)..].Split('/');
        return names.Length < 3 || !_listed.Contains(_root / names[0] / names[1]);
    }

    // A toolstack makes both directories together, some before the domain is introduced: only without either it is over.
    private async Task<bool> IsStaleAsync(BackendDirectory directory) =>
        !await client.IsDomainIntroducedAsync(directory.Guest.Value).ConfigureAwait(false)
        && XenStorePath.TryParse(await client.ReadAsync(directory.Path / "frontend").ConfigureAwait(false), out var frontend)
        && !await client.ExistsAsync(frontend).ConfigureAwait(false);

    private async Task RemoveAsync(BackendDirectory directory)
    {
        await client.RemoveAsync(directory.Path).ConfigureAwait(false);
        if (await client.ListAsync(directory.Path.Parent).ConfigureAwait(false) is []) await client.RemoveAsync(directory.Path.Parent).ConfigureAwait(false);
    }
}
