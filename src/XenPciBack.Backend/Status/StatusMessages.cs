using System.Collections.Immutable;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Status;

/// <summary>The key in the actor registry of the actor that knows a host's status and answers the messages below.</summary>
/// <remarks>It publishes a <see cref="HostStatus"/> each second, and each <see cref="Incident"/>, on the actor system's event stream.</remarks>
public sealed class HostStatusKeeper;

/// <summary>Answered with the <see cref="HostStatus"/> of now.</summary>
public sealed record GetStatus
{
    public static readonly GetStatus Instance = new();

    private GetStatus() { }
}

/// <summary>Answered with <see cref="Incidents"/>.</summary>
/// <param name="After">The number of the last one that is known already; 0 for all.</param>
public sealed record GetIncidents(long After);

/// <param name="Latest">In the order in which they happened; the oldest ones may be forgotten.</param>
public sealed record Incidents(ImmutableArray<Incident> Latest);

/// <summary>
/// Answered with a <see cref="ConfigView"/> or <see cref="NoConfigView"/>, by the actor of the device as soon as it has nothing else in hand. All its registers are
/// read, which takes some milliseconds of a real device, and an operation of its guest may wait for that.
/// </summary>
public sealed record GetConfigView(DomainId Domain, HostBdf Device);

/// <param name="Reason">In words.</param>
public sealed record NoConfigView(string Reason);
