using XenPciBack.Host.Linux;

namespace XenPciBack.Daemon.Commands;

/// <summary>
/// One daemon serves the guests of a host, another one stands by with everything loaded, and the kernel decides when it is its turn: at the
/// moment the first one lets go of its lock or is gone, however it ended.
/// </summary>
/// <param name="directory">Where the locks are; one for each host.</param>
internal sealed class Turn(string directory)
{
    private readonly string _serving = Path.Combine(directory, "serving.lock"), _next = Path.Combine(directory, "next.lock");

    /// <summary>The process that serves, or served last; null if none ever did.</summary>
    public int? Serving => HostLock.HolderOf(_serving);

    /// <summary>The process that stands by and is ready; null if there is none.</summary>
    public int? Next
    {
        get
        {
            if (HostLock.TryTake(_next) is not { } nobodys) return HostLock.HolderOf(_next);
            nobodys.Dispose();
            return null;
        }
    }

    /// <returns>null if another daemon serves. Disposing passes the turn on.</returns>
    public IDisposable? TryTake() => HostLock.TryTake(_serving);

    /// <summary>Waits until this one is the next, and then until it is its turn. Disposing passes the turn on.</summary>
    /// <param name="onNext">Called in between: from now on the wait ends at once when the daemon that serves does.</param>
    public async Task<IDisposable> TakeAsync(Action onNext, CancellationToken stop)
    {
        using var next = await HostLock.TakeAsync(_next, stop).ConfigureAwait(false);
        var serving = HostLock.TakeAsync(_serving, stop);
        onNext();
        return await serving.ConfigureAwait(false);
    }
}
