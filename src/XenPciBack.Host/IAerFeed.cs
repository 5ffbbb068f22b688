using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Host;

/// <summary>
/// The errors that PCI functions of this host report (Advanced Error Reporting), each one once to a process. An error
/// is told again by the next process until <see cref="Handled"/> was called for it: a daemon that ends before it has
/// acted forgets none.
/// </summary>
public interface IAerFeed
{
    /// <summary>
    /// Tells what has happened before and was not told, then <see cref="AerReport.PastErrorsTold"/>, and what happens
    /// from now on. <paramref name="tell"/> is called by one thread at a time, never by one that serves guests;
    /// disposing ends the watch.
    /// </summary>
    IDisposable Watch(Action<AerReport> tell);

    /// <summary>So many of the errors of a function that were told were acted on. Any thread.</summary>
    void Handled(HostBdf device, int errors);
}

/// <summary>What a feed of errors has to say.</summary>
public abstract record AerReport
{
    private AerReport() { }

    public sealed record Met(AerError Error) : AerReport;

    /// <summary>All errors that happened before the watch began have been told.</summary>
    public sealed record PastErrorsTold : AerReport
    {
        public static readonly PastErrorsTold Instance = new();
    }

    /// <summary>A source has fallen silent for a reason; errors are found through the others, with less detail or later.</summary>
    /// <param name="What">The source and what is wrong with it, for an administrator.</param>
    public sealed record SourceLost(AerSource Source, string What) : AerReport;

    /// <summary>The trace has dropped records that were not read in time; the counters tell of those errors, with less detail.</summary>
    public sealed record RecordsLost(long Count) : AerReport;

    public sealed record SourceBack(AerSource Source) : AerReport;
}
