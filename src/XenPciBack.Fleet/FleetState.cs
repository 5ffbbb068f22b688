using System.Collections.Immutable;
using XenPciBack.Backend.Status;

namespace XenPciBack.Fleet;

/// <summary>What is known of every host, at one moment. A host that has vanished keeps its last state. Comparing references tells whether anything has changed.</summary>
/// <param name="Hosts">By name.</param>
public sealed record FleetState(ImmutableSortedDictionary<string, HostEntry> Hosts)
{
    /// <summary>Incidents kept of each host; older ones are forgotten.</summary>
    public const int MostIncidents = 512;

    /// <summary>Hosts there may be; further ones are not taken in, whoever makes up their names.</summary>
    public const int MostHosts = 1024;

    public static readonly FleetState Empty = new(ImmutableSortedDictionary.Create<string, HostEntry>(StringComparer.Ordinal));

    /// <summary>Every incident of every host, newest first.</summary>
    public IEnumerable<HostIncident> Incidents => Hosts.Values.SelectMany(host => host.Incidents).OrderDescending(HostIncident.ByAge);

    /// <summary>A host has told its state; nothing changes if it has told a later one.</summary>
    public FleetState WithStatus(HostStatus status, DateTimeOffset now)
    {
        var entry = Hosts.GetValueOrDefault(status.Host) ?? HostEntry.New(now);
        // A daemon numbers its statuses. Which of two daemons is the later one their clocks cannot tell: the one that speaks last is.
        return entry.Status is { } last && last.Since == status.Since && last.Number >= status.Number ? this : With(status.Host, entry with { Status = status });
    }

    /// <summary>A host has told an incident; told again, it changes nothing.</summary>
    public FleetState WithIncident(HostIncident told, DateTimeOffset now)
    {
        var entry = Hosts.GetValueOrDefault(told.Host) ?? HostEntry.New(now);
        if (entry.Incidents.Any(told.IsSame)) return this;
        var place = 0;
        while (place < entry.Incidents.Length && HostIncident.ByAge.Compare(entry.Incidents[place], told) > 0) place++;
        if (place == MostIncidents) return this;
        var incidents = entry.Incidents.Insert(place, told);
        return With(told.Host, entry with { Incidents = incidents.Length > MostIncidents ? incidents[..MostIncidents] : incidents });
    }

    /// <summary>A host has come, vanished or left.</summary>
    public FleetState WithPresence(string host, Presence presence, DateTimeOffset now)
    {
        var entry = Hosts.GetValueOrDefault(host) ?? HostEntry.New(now);
        return entry.Presence == presence && Hosts.ContainsKey(host) ? this : With(host, entry with { Presence = presence, PresentSince = now });
    }

    private FleetState With(string host, HostEntry entry) => Hosts.Count >= MostHosts && !Hosts.ContainsKey(host) ? this : new(Hosts.SetItem(host, entry));
}

public enum Presence
{
    /// <summary>It is heard of.</summary>
    Up,

    /// <summary>It is not heard of any more, and has not said goodbye.</summary>
    Lost,

    /// <summary>Its daemon has ended in good order.</summary>
    Left,
}

/// <summary>What is known of a host.</summary>
/// <param name="Status">The last that it has told; null if it has told nothing yet.</param>
/// <param name="PresentSince">Since when <paramref name="Presence"/> is so, by the clock of who keeps this.</param>
/// <param name="Incidents">Newest first, at most <see cref="FleetState.MostIncidents"/>.</param>
public sealed record HostEntry(HostStatus? Status, Presence Presence, DateTimeOffset PresentSince, ImmutableArray<HostIncident> Incidents)
{
    internal static HostEntry New(DateTimeOffset now) => new(null, Presence.Up, now, []);
}

/// <summary>An incident, and whose it is.</summary>
/// <param name="Daemon">When the daemon that has told it began to serve; together with the host and the incident's number, its identity.</param>
public sealed record HostIncident(string Host, DateTimeOffset Daemon, Incident Incident)
{
    /// <summary>The older one comes first.</summary>
    public static readonly IComparer<HostIncident> ByAge = Comparer<HostIncident>.Create((one, other) =>
        (one.Incident.At, one.Daemon, one.Incident.Number).CompareTo((other.Incident.At, other.Daemon, other.Incident.Number)));

    public bool IsSame(HostIncident other) => Host == other.Host && Daemon == other.Daemon && Incident.Number == other.Incident.Number;
}
