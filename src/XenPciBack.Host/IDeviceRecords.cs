using XenPciBack.Protocol;
using XenPciBack.Protocol.Records;

namespace XenPciBack.Host;

/// <summary>
/// The records of functions that guests have, one for each guest and function. They outlive this process and end with the host's
/// uptime, as domains do. Thread-safe.
/// </summary>
public interface IDeviceRecords
{
    IReadOnlyList<(DomainId Guest, HostBdf Function)> All { get; }

    /// <summary>The records that nobody in this process has open: of guests that are about to be taken up, or that nobody has given their devices back of.</summary>
    IReadOnlyList<(DomainId Guest, HostBdf Function)> Unopened { get; }

    /// <summary>Opens a record, or begins one. Whoever disposes it leaves it as it is for the next.</summary>
    /// <exception cref="IOException">It cannot be made, or somebody in this process has it open; the message names it.</exception>
    DeviceRecord Open(DomainId guest, HostBdf function);

    /// <summary>Removes a record that may be open. Nothing happens if there is none.</summary>
    /// <exception cref="IOException">It cannot be removed.</exception>
    void Remove(DomainId guest, HostBdf function);
}
