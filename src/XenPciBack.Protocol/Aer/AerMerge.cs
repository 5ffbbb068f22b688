using System.Collections.Immutable;

namespace XenPciBack.Protocol.Aer;

/// <summary>
/// Makes one error out of what several sources say of it. The trace tells all and tells it first; the counters are the proof that
/// nothing was missed, and stand in when the trace has lost a record or is not there; the kernel object's event counts only
/// when both are silent. Errors that happened while nobody watched are found by comparing with the counts of the last time.
/// </summary>
/// <remarks>The kernel counts an error, then traces it, then sends the event; a reader may meet them in any order.</remarks>
public sealed record AerMerge
{
    /// <summary>How long a rise of the counters may wait for the trace to tell more of it.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromMilliseconds(500);

    /// <summary>For how long a record of the trace may still come for an error that the counters have told of.</summary>
    public static readonly TimeSpan Lateness = TimeSpan.FromSeconds(5);

    private static readonly ImmutableArray<AerError> Nothing = [];

    private ImmutableDictionary<(HostBdf Device, AerSeverity Severity), Tally> Tallies { get; init; } = ImmutableDictionary<(HostBdf, AerSeverity), Tally>.Empty;

    /// <param name="Told">The counts as they would stand if every error told of so far were all.</param>
    /// <param name="RisenAt">When the counters were first seen above <paramref name="Told"/>.</param>
    /// <param name="Ahead">Errors told of by the counters, whose records of the trace may still come.</param>
    private sealed record Tally(AerCounters Told, TimeSpan? RisenAt, long Ahead, TimeSpan AheadAt, bool IsCounted);

    /// <summary>What has been told of so far, by device and severity; given to <see cref="Remember"/> after a restart.</summary>
    public IEnumerable<(HostBdf Device, AerSeverity Severity, AerCounters Told)> Told =>
        Tallies.Where(tally => tally.Value.IsCounted).Select(tally => (tally.Key.Device, tally.Key.Severity, tally.Value.Told));

    /// <summary>What an earlier watcher had told of.</summary>
    public AerMerge Remember(HostBdf device, AerSeverity severity, AerCounters told) =>
        this with { Tallies = Tallies.SetItem((device, severity), new Tally(told, null, 0, default, IsCounted: true)) };

    /// <summary>The device left the host, or nobody here has it any more.</summary>
    public AerMerge Forget(HostBdf device) => this with { Tallies = Tallies.RemoveRange(Tallies.Keys.Where(key => key.Device == device)) };

    /// <param name="at">A clock that only moves forward, the same for all calls.</param>
    public (AerMerge Next, ImmutableArray<AerError> Errors) Traced(AerError error, TimeSpan at)
    {
        var key = (error.Device, error.Severity);
        var tally = Tallies.GetValueOrDefault(key) ?? new Tally(AerCounters.None, null, 0, default, IsCounted: false);
        if (tally.Ahead > 0 && at - tally.AheadAt < Lateness) return (With(key, tally with { Ahead = tally.Ahead - 1 }), Nothing);
        return (With(key, tally with { Told = tally.Told.Add(error.Status), RisenAt = null, Ahead = 0 }), [error]);
    }

    /// <summary>The counters as they are now. While they stand higher than what was told, they are to be given again after <see cref="Grace"/>.</summary>
    public (AerMerge Next, ImmutableArray<AerError> Errors) Counted(HostBdf device, AerSeverity severity, AerCounters now, TimeSpan at)
    {
        var key = (device, severity);
        var tally = Tallies.GetValueOrDefault(key);
        // The first look at a device that nobody remembers: what it has counted so far is history. So are counts that went down:
        // the kernel has found the device anew.
        if (tally is not { IsCounted: true } || now.Total < tally.Told.Total)
            return (With(key, new Tally(now, null, tally?.Ahead ?? 0, tally?.AheadAt ?? default, IsCounted: true)), Nothing);
        if (now.Total == tally.Told.Total) return (With(key, tally with { Told = now, RisenAt = null }), Nothing);
        if (tally.RisenAt is not { } risenAt) return (With(key, tally with { RisenAt = at }), Nothing);
        if (at - risenAt < Grace) return (this, Nothing);
        var missed = now.Total - tally.Told.Total;
        return (With(key, new Tally(now, null, tally.Ahead + missed, at, IsCounted: true)),
            [new AerError(device, severity, now.RisenSince(tally.Told), [], AerSource.Counters, missed)]);
    }

    /// <summary>Whether the counters of the device have risen and wait for the trace.</summary>
    public bool Awaits(HostBdf device) => Tallies.Any(tally => tally.Key.Device == device && tally.Value.RisenAt is not null);

    private AerMerge With((HostBdf, AerSeverity) key, Tally tally) => this with { Tallies = Tallies.SetItem(key, tally) };
}
