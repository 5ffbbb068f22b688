namespace XenPciBack.Daemon.Control;

/// <summary>The wish of an operator that the daemon that stands by takes over, and how it is granted.</summary>
/// <param name="next">The process that stands by; null if there is none.</param>
internal sealed class Handover(Func<int?> next)
{
    private readonly TaskCompletionSource _wanted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The process that stands by; null if there is none.</summary>
    public int? Next => next();

    /// <returns>Who has the guests now, or null while nobody stands by: then nothing happens.</returns>
    public async Task<int?> AskAsync()
    {
        if (next() is not { } process) return null;
        _wanted.TrySetResult();
        await _done.Task.ConfigureAwait(false);
        return process;
    }

    /// <summary>Returns when an operator wants it, or the daemon is to stop.</summary>
    public async Task WantedAsync(CancellationToken stop) => await ((Task)_wanted.Task.WaitAsync(stop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>This daemon holds nothing any more.</summary>
    public void IsDone() => _done.TrySetResult();
}
