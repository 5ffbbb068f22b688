using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>The toolstack is xl.</summary>
public sealed class XlToolstack : IToolstack
{
    /// <summary>Beyond the 10 s that xl gives a guest to let go of a device.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public Task<string?> DetachAsync(DomainId guest, HostBdf device) => RunAsync("pci-detach", guest.ToString(), device.ToString());

    public Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options) =>
        RunAsync("pci-attach", guest.ToString(), string.IsNullOrEmpty(options) ? device.ToString() : $"{device},{options}");

    /// <summary>
    /// <c>xl pci-assignable-add</c>: the host's driver gives the device up to the stub, xl remembers which one it was, and the hypervisor keeps the device
    /// from reaching memory.
    /// </summary>
    /// <returns>null, or what xl said when it failed.</returns>
    public static Task<string?> HideAsync(HostBdf device) => RunAsync("pci-assignable-add", device.ToString());

    /// <summary><c>xl pci-assignable-remove -r</c>: the driver that had the device before has it again.</summary>
    /// <returns>null, or what xl said when it failed.</returns>
    public static Task<string?> UnhideAsync(HostBdf device) => RunAsync("pci-assignable-remove", "-r", device.ToString());

    public async Task<IReadOnlySet<DomainId>> EndedAsync()
    {
        var (output, fault) = await HostCommand.RunAsync(Patience, "xl", "list").ConfigureAwait(false);
        return fault is null ? EndedIn(output) : throw new IOException(fault);
    }

    /// <summary>
    /// After a line with headings, one for each domain: a name, which may have spaces, domain id, MiB of memory, VCPUs, a place for each of the
    /// states running, blocked, paused, shut down, crashed and dying with its letter or a dash, and seconds of processor time.
    /// </summary>
    internal static IReadOnlySet<DomainId> EndedIn(string listing) => listing.Split('\n').Skip(1)
        .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Where(fields => fields.Length >= 6 && fields[^2].AsSpan().IndexOfAny('s', 'c', 'd') >= 0)
        .SelectMany(fields => DomainId.TryParse(fields[^5], out var domain) ? [domain] : Array.Empty<DomainId>()).ToHashSet();

    private static async Task<string?> RunAsync(params string[] arguments) => (await HostCommand.RunAsync(Patience, "xl", arguments).ConfigureAwait(false)).Fault;
}
