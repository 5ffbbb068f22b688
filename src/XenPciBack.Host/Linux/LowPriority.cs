namespace XenPciBack.Host.Linux;

/// <summary>For threads whose work can wait. .NET's own thread priorities have no effect on Linux, which has a nice value for each thread.</summary>
public static class LowPriority
{
    // From the first nice level to the last.
    private const int Levels = 39;

    /// <summary>The calling thread runs when no other wants to, for the most part.</summary>
    public static void OfThisThread() => Interop.Libc.PreferThisThread(-Levels);
}
