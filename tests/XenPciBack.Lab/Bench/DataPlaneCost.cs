namespace XenPciBack.Lab.Bench;

/// <summary>How often a system call is made for each config read.</summary>
internal sealed record CallsPerRead(string Name, double Count);

/// <summary>What a guest's config read costs the daemon.</summary>
/// <param name="Thread">The name of the thread that serves it.</param>
/// <param name="User">The thread's time in user mode, in microseconds for each read; a value for each round.</param>
/// <param name="System">The same in dom0's kernel and the hypervisor.</param>
/// <param name="Calls">The thread's system calls, the most frequent first.</param>
/// <param name="OtherCalls">Those of the daemon's other threads in the same time.</param>
internal sealed record DataPlaneCost(
    string Thread, IReadOnlyList<double> User, IReadOnlyList<double> System, IReadOnlyList<CallsPerRead> Calls,
    IReadOnlyList<CallsPerRead> OtherCalls)
{
    /// <summary>The thread that serves reads is known by what it does: it works most while a guest reads.</summary>
    /// <param name="rounds">What each of the daemon's threads worked in each round of reads.</param>
    /// <param name="readsPerRound">How many reads each of <paramref name="rounds"/> had.</param>
    /// <param name="calls">What the daemon's threads called in further rounds.</param>
    /// <param name="readsWithCalls">How many reads all of <paramref name="calls"/> are from.</param>
    public static DataPlaneCost Of(
        IReadOnlyList<IReadOnlyList<ThreadTime>> rounds, int readsPerRound, IReadOnlyList<SystemCallCount> calls,
        int readsWithCalls)
    {
        var busiest = rounds.SelectMany(threads => threads).GroupBy(thread => thread.Id)
            .MaxBy(thread => thread.Sum(round => round.User + round.System))
            ?? throw new LabException("the daemon has no threads: it has ended");
        var times = rounds.Select(threads => threads.FirstOrDefault(thread => thread.Id == busiest.Key)).ToList();
        return new DataPlaneCost(busiest.First().Name,
            [.. times.Select(time => 1000.0 * (time?.User ?? 0) / readsPerRound)],
            [.. times.Select(time => 1000.0 * (time?.System ?? 0) / readsPerRound)],
            PerRead(calls.Where(call => call.ThreadId == busiest.Key), readsWithCalls),
            PerRead(calls.Where(call => call.ThreadId != busiest.Key), readsWithCalls));
    }

    private static IReadOnlyList<CallsPerRead> PerRead(IEnumerable<SystemCallCount> calls, int reads) =>
    [
        .. calls.GroupBy(call => call.Name)
            .Select(call => new CallsPerRead(call.Key, call.Sum(one => one.Count) / (double)reads))
            .OrderByDescending(call => call.Count).ThenBy(call => call.Name, StringComparer.Ordinal),
    ];
}
