using System.Globalization;
using System.Text.RegularExpressions;

namespace XenPciBack.Lab.Bench;

/// <summary>How often a thread made a system call.</summary>
internal sealed record SystemCallCount(int ThreadId, string Name, long Count);

/// <summary>
/// The system calls that dom0's kernel counts by thread, in a histogram of the trace event raw_syscalls:sys_enter.
/// strace is no use: it stops a thread twice in each call, the guest's next request is then in the page before the
/// thread looks for an event, and nine of ten calls of poll, read and write are never made.
/// </summary>
internal static partial class SystemCalls
{
    /// <summary>The folder of a trace instance that belongs to the bench alone.</summary>
    private const string Instance = "/sys/kernel/tracing/instances/bench";

    private const string Event = $"{Instance}/events/raw_syscalls/sys_enter";

    private const string Keys = "hist:keys=common_pid,id.syscall:size=8192";

    /// <summary>A script for dom0 that begins to count.</summary>
    public const string Begin = $"mkdir -p {Instance} && echo '{Keys}' > {Event}/trigger";

    /// <summary>A script for dom0 that prints the histogram and ends the counting.</summary>
    public const string End = $"cat {Event}/hist; echo '!{Keys}' > {Event}/trigger; rmdir {Instance}";

    public static IReadOnlyList<SystemCallCount> Parse(string histogram)
    {
        var dropped = Dropped().Match(histogram);
        if (!dropped.Success || dropped.Groups[1].Value != "0")
            throw new LabException($"the histogram of system calls is not complete:\n{LabException.Tail(histogram)}");
        return
        [
            .. Entry().Matches(histogram).Select(entry => new SystemCallCount(
                int.Parse(entry.Groups["thread"].ValueSpan, CultureInfo.InvariantCulture), entry.Groups["name"].Value,
                long.Parse(entry.Groups["count"].ValueSpan, CultureInfo.InvariantCulture))),
        ];
    }

    [GeneratedRegex(
        @"\{ common_pid: +(?<thread>\d+), id: (?:sys_)?(?<name>\w+) *\[ *\d+\] *\} hitcount: +(?<count>\d+)",
        RegexOptions.CultureInvariant)]
    private static partial Regex Entry();

    [GeneratedRegex(@"Dropped: (\d+)", RegexOptions.CultureInvariant)]
    private static partial Regex Dropped();
}
