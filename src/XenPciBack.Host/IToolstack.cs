using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>What only the toolstack can do, because it keeps the books.</summary>
public interface IToolstack
{
    /// <summary><c>xl pci-detach</c>.</summary>
    /// <returns>null, or what the toolstack said when it failed.</returns>
    Task<string?> DetachAsync(DomainId guest, HostBdf device);
}
