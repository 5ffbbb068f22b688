using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Status;

/// <summary>
/// Everything that one backend counts, in plain numbers; after <see cref="Show"/> there are instruments to read them by. What is counted of a guest is gone when the guest is.
/// Thread-safe.
/// </summary>
/// <param name="clock">By which it is noted since when a guest is served.</param>
public sealed class BackendMeters(TimeProvider clock) : IDisposable
{
    private readonly ConcurrentDictionary<DomainId, GuestMeter> _guests = new();
    private readonly ConcurrentDictionary<(HostBdf Device, AerSeverity Severity, string Status), long> _errors = new();
    private readonly ConcurrentDictionary<string, long> _starts = new(), _stops = new(), _restarts = new();
    private long _kills, _adoptions, _violations, _reconnects;
    private int _quarantined, _storeIsAway;

    private Instruments? _instruments;

    /// <summary>Whether another daemon stands by; null where none can.</summary>
    public Func<bool>? HasStandby { get; set; }

    /// <summary>null before <see cref="Show"/>.</summary>
    internal Meter? Meter => _instruments?.Meter;

    /// <summary>Those that are served.</summary>
    internal ICollection<GuestMeter> Guests => _guests.Values;

    /// <summary>By device, severity and status: the name of the one bit that was set, or how many.</summary>
    internal IEnumerable<KeyValuePair<(HostBdf Device, AerSeverity Severity, string Status), long>> Errors => _errors;

    // By the actor's class.
    internal IEnumerable<KeyValuePair<string, long>> ActorStarts => _starts;
    internal IEnumerable<KeyValuePair<string, long>> ActorStops => _stops;
    internal IEnumerable<KeyValuePair<string, long>> ActorRestarts => _restarts;

    internal long Kills => Interlocked.Read(ref _kills);
    internal long Adoptions => Interlocked.Read(ref _adoptions);
    internal long Violations => Interlocked.Read(ref _violations);
    internal long StoreReconnects => Interlocked.Read(ref _reconnects);
    internal bool IsStoreAway => Volatile.Read(ref _storeIsAway) != 0;

    /// <summary>Devices in quarantine now.</summary>
    internal int Quarantined
    {
        get => Volatile.Read(ref _quarantined);
        set => Volatile.Write(ref _quarantined, value);
    }

    internal GuestMeter? Find(DomainId guest) => _guests.GetValueOrDefault(guest);

    /// <summary>A guest whose actor has failed goes on counting with the next one.</summary>
    internal GuestMeter Serve(DomainId guest) => _guests.GetOrAdd(guest, domain => new GuestMeter(domain, clock));

    internal void Drop(DomainId guest)
    {
        if (_guests.TryRemove(guest, out var gone)) _instruments?.Tell(gone);
    }

    internal void Met(AerError error) => _errors.AddOrUpdate((error.Device, error.Severity, StatusOf(error)), error.Count, (_, before) => before + error.Count);

    internal void Killed() => Interlocked.Increment(ref _kills);

    internal void Adopted() => Interlocked.Increment(ref _adoptions);

    internal void Misbehaved() => Interlocked.Increment(ref _violations);

    /// <param name="actor">Its class.</param>
    internal void Started(string actor) => Increment(_starts, actor);

    internal void Stopped(string actor) => Increment(_stops, actor);

    internal void Restarted(string actor) => Increment(_restarts, actor);

    /// <summary>What becomes of this connection is counted from now on.</summary>
    internal void Follow(XenStoreClient client)
    {
        client.Answered += took => _instruments?.StoreAnswered(took);
        client.ConnectionLost += _ => Volatile.Write(ref _storeIsAway, 1);
        client.Reconnected += () =>
        {
            Interlocked.Increment(ref _reconnects);
            Volatile.Write(ref _storeIsAway, 0);
        };
    }

    /// <summary>The instruments exist from now on. Only one backend of a process may do that, because they are known by their names.</summary>
    public void Show() => _instruments ??= new Instruments(this);

    public void Dispose() => _instruments?.Dispose();

    private static void Increment(ConcurrentDictionary<string, long> counts, string actor) => counts.AddOrUpdate(actor, 1, (_, before) => before + 1);

    private static string StatusOf(AerError error) => uint.PopCount(error.Status) switch
    {
        0 => "unknown",
        1 => AerStatus.NameOf(error.Severity, (int)uint.TrailingZeroCount(error.Status)),
        _ => "several",
    };
}
