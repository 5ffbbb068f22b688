using System.Globalization;

namespace XenPciBack.Lab.Bench;

/// <summary>The processor time of a thread, in ms, from /proc/PID/task/TID/stat.</summary>
internal sealed record ThreadTime(int Id, string Name, long User, long System)
{
    /// <summary>The unit of times in /proc on Linux for x86-64 (USER_HZ = 100).</summary>
    private const int MillisecondsPerTick = 10;

    /// <param name="text">The stat files of a process's threads, a line each.</param>
    public static IReadOnlyList<ThreadTime> Parse(string text) =>
        [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(ParseLine)];

    /// <summary>What each thread worked between two looks at a process.</summary>
    public static IReadOnlyList<ThreadTime> Between(
        IReadOnlyList<ThreadTime> before, IReadOnlyList<ThreadTime> after) =>
    [
        .. after.Select(thread => before.FirstOrDefault(earlier => earlier.Id == thread.Id) is { } earlier
            ? thread with { User = thread.User - earlier.User, System = thread.System - earlier.System }
            : thread),
    ];

    private static ThreadTime ParseLine(string line)
    {
        // "71 (name) S 1 71 ...": the name may hold spaces and brackets. User and system time are fields 14 and 15.
        var (open, close) = (line.IndexOf('('), line.LastIndexOf(')'));
        if (open > 0 && close > open
            && line[(close + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries) is { Length: > 12 } fields
            && int.TryParse(line[..open], CultureInfo.InvariantCulture, out var id)
            && long.TryParse(fields[11], CultureInfo.InvariantCulture, out var user)
            && long.TryParse(fields[12], CultureInfo.InvariantCulture, out var system))
        {
            var name = line[(open + 1)..close];
            return new ThreadTime(id, name, user * MillisecondsPerTick, system * MillisecondsPerTick);
        }
        throw new LabException($"/proc/PID/task/TID/stat is '{line}'; expected at least 15 fields");
    }
}
