namespace XenPciBack.Daemon.Control;

/// <summary>The wish of an operator that the daemon that stands by takes over, and how it is granted.</summary>
/// <param name="next">The process that stands by; null if there is none.</param>
internal sealed class Handover(Func<int?> next)
{
    private readonly TaskCompletionSource _wanted = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Who would have the guests; null while nobody stands by.</summary>
    public int? Next => next();

    /// <summary>The operator has been told whose turn it is; this daemon lets go.</summary>
    public void Begin() => _wanted.TrySetResult();

    /// <summary>Returns when an operator wants it, or the daemon is to stop.</summary>
    public async Task WantedAsync(CancellationToken stop) => await ((Task)_wanted.Task.WaitAsync(stop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
}
