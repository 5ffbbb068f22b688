using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>What only the toolstack can do, because it keeps the books.</summary>
public interface IToolstack
{
    /// <summary><c>xl pci-detach</c>.</summary>
    /// <returns>null, or what the toolstack said when it failed.</returns>
    Task<string?> DetachAsync(DomainId guest, HostBdf device);

    /// <summary><c>xl pci-attach</c>.</summary>
    /// <param name="options">As xl.cfg(5) has them behind the address, for example <c>permissive=1</c>; null for none.</param>
    /// <returns>null, or what the toolstack said when it failed.</returns>
    Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options);

    /// <summary>The domains that run no more and have not been taken down yet: shut down, crashed, dying (<c>xl list</c>).</summary>
    /// <exception cref="IOException">The toolstack does not answer.</exception>
    Task<IReadOnlySet<DomainId>> EndedAsync();
}
