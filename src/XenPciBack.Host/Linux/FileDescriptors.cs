namespace XenPciBack.Host.Linux;

/// <summary>
/// The file descriptors this process may have. Without a few of them .NET cannot start a thread, and ends the process; so some are
/// kept, and it is the next device that is not given to a guest.
/// </summary>
internal static class FileDescriptors
{
    /// <summary>Connections of browsers and scrapes, the toolstack's processes, threads: far more than are used at a time.</summary>
    private const int Kept = 64;

    private const string Open = "/proc/self/fd";

    public static string? Objection => Objecting(Count(), Interop.Libc.FileDescriptorLimit());

    internal static string? Objecting(long used, long limit) => used + Kept <= limit ? null
        : $"this daemon has {used} of at most {limit} file descriptors open, and keeps {Kept} for the guests it serves; raise the limit (LimitNOFILE in its unit, or prlimit --nofile)";

    private static long Count()
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(Open).LongCount();
        }
        catch (IOException)
        {
            // There is none left to look with.
            return long.MaxValue - Kept;
        }
    }
}
