using System.Collections.Immutable;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet.Wire;

/// <summary>A host tells a monitor what that monitor has not seen yet; repeated until it says that it has.</summary>
/// <param name="Daemon">When the daemon that tells this was started.</param>
/// <param name="Status">null if the monitor has seen the last one.</param>
/// <param name="Incidents">Of this daemon, oldest first, at most <see cref="MostIncidents"/>.</param>
internal sealed record Report(string Host, DateTimeOffset Daemon, HostStatus? Status, ImmutableArray<Incident> Incidents)
{
    public const int MostIncidents = 32;
}

/// <summary>The monitor's answer to a report.</summary>
/// <param name="Status">The number of the status in the report; 0: it had none.</param>
/// <param name="Incident">The number of its last incident; 0: it had none.</param>
internal sealed record ReportSeen(string Host, DateTimeOffset Daemon, long Status, long Incident);

/// <summary>A monitor asks a host for a device's config space as its guest sees it.</summary>
internal sealed record ConfigViewWanted(DomainId Guest, HostBdf Device);

/// <param name="View">null if there is no such guest or device.</param>
internal sealed record ConfigViewFound(ConfigView? View);

/// <summary>Stands for a message that was not taken; no actor knows it.</summary>
internal sealed record Refused
{
    public static readonly Refused Instance = new();

    private Refused() { }
}
