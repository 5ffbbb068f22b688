namespace XenPciBack.Host.Linux;

/// <summary>For threads whose work can wait. .NET's own thread priorities have no effect on Linux, which has a nice value for each thread.</summary>
public static class LowPriority
{
    private const int Nicest = 19;

    /// <summary>The calling thread runs when no other wants to, for the most part.</summary>
    public static void OfThisThread() => Interop.Libc.SetNice(Nicest);
}
