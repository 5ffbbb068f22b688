using System.Collections.Immutable;
using XenPciBack.Backend.Guests;
using XenPciBack.Host;
using XenPciBack.Protocol;
using DeviceOfGuest = XenPciBack.Backend.BackendEvents.DeviceOfGuest;

namespace XenPciBack.Backend.Supervision;

/// <summary>What is to be read again; the later ones include those before.</summary>
internal enum Wanted
{
    Nothing,
    Directories,

    /// <summary>Also which domains have ended.</summary>
    EndedDomains,
}

/// <summary>
/// Reads which guests there are, one reading at a time: what is wanted meanwhile is read after it. Used by the
/// supervisor alone.
/// </summary>
internal sealed class DirectoryReader(ConnectionDirectories directories, XenHost host)
{
    private Wanted _wanted;
    private Task? _reading;

    /// <param name="Role">This daemon's when it was read: to a standby a guest that is missing may be new, and is not
    /// gone.</param>
    /// <param name="Removed">Directories whose domains are gone.</param>
    /// <param name="Losses">What a daemon before this one did not see to the end, until all that happened before is
    /// known.</param>
    public sealed record Listed(
        Role Role, IReadOnlyList<BackendDirectory> Removed, LedgerInput.Listed Found,
        ImmutableArray<LedgerInput.LossFound> Losses);

    /// <returns>null: it follows the reading under way.</returns>
    public Task<Listed>? Read(Wanted wanted, Role role, GuestLedger ledger)
    {
        _wanted = (Wanted)Math.Max((int)_wanted, (int)wanted);
        if (_reading is not null || _wanted == Wanted.Nothing) return null;
        var reading = ReadAsync(_wanted, role, ledger);
        (_reading, _wanted) = (reading, Wanted.Nothing);
        return reading;
    }

    /// <summary>The reading under way is over.</summary>
    /// <param name="missed">What it could not read, and the next one is to.</param>
    public void Done(Wanted missed = Wanted.Nothing)
    {
        _reading = null;
        _wanted = (Wanted)Math.Max((int)_wanted, (int)missed);
    }

    private async Task<Listed> ReadAsync(Wanted wanted, Role role, GuestLedger ledger)
    {
        var isOfEnded = wanted == Wanted.EndedDomains && role == Role.Serving;
        var removed = isOfEnded ? await directories.RemoveStaleAsync().ConfigureAwait(false) : [];
        var listed = await directories.ListAsync().ConfigureAwait(false);
        var found = await Task.WhenAll(listed.Select(directory => FindAsync(directory, ledger))).ConfigureAwait(false);
        if (role == Role.Standby)
            return new Listed(role, removed, new([.. found], LedgerInput.Listed.NoneUnclaimed), []);

        var unclaimed =
            await FindUnclaimedAsync([.. listed.Select(directory => directory.Guest)]).ConfigureAwait(false);
        var unfinished = ledger.PastErrors == PastErrors.Known ? [] : Loss.Unfinished(host.Intents);
        var losses = await Task.WhenAll(unfinished.Select(async loss => new LedgerInput.LossFound(
            loss, await directories.ReadVmAsync(loss.Guest).ConfigureAwait(false)))).ConfigureAwait(false);
        return new Listed(role, removed, new([.. found], unclaimed), [.. losses]);
    }

    private async Task<LedgerInput.FoundDirectory> FindAsync(BackendDirectory directory, GuestLedger ledger)
    {
        if (ledger.Guests.TryGetValue(directory, out var known)) return new(directory, known.Vm, DirectoryOwner.Nobody);
        var isKernels = host.Pci.KernelBackendServes(directory.Guest, directory.DeviceId);
        var vm = await directories.ReadVmAsync(directory.Guest).ConfigureAwait(false);
        return new(directory, vm, isKernels ? DirectoryOwner.Kernel : DirectoryOwner.Nobody);
    }

    /// <summary>Devices on record for guests without a directory.</summary>
    private async Task<ImmutableDictionary<DeviceOfGuest, GuestLife>> FindUnclaimedAsync(HashSet<DomainId> connected)
    {
        var unclaimed = LedgerInput.Listed.NoneUnclaimed.ToBuilder();
        foreach (var (guest, function) in host.DeviceRecords.Unopened.Where(one => !connected.Contains(one.Guest)))
        {
            var runs = !await directories.IsIntroducedAsync(guest).ConfigureAwait(false)
                && host.Hypervisor.IsAlive(guest);
            unclaimed[new DeviceOfGuest(guest, function)] = runs ? GuestLife.Running : GuestLife.Ended;
        }
        return unclaimed.ToImmutable();
    }
}
