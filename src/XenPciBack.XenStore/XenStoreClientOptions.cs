namespace XenPciBack.XenStore;

/// <summary>Bounds of a <see cref="XenStoreClient"/>. The defaults suit a dom0 daemon.</summary>
public sealed record XenStoreClientOptions
{
    /// <summary>
    /// Requests sent and not answered, at most; further calls wait. One guest connection may have 20 in C xenstored
    /// (quota "outstanding requests"), but a dom0 socket has no such bound, so this one is ours.
    /// </summary>
    public int RequestsInFlight { get; init; } = 64;

    /// <summary>How long a call made while disconnected waits for the next connection before it fails.</summary>
    public TimeSpan ReconnectPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Pause before the first attempt to reconnect; doubled after each failure up to <see cref="LongestReconnectPause"/>.</summary>
    public TimeSpan FirstReconnectPause { get; init; } = TimeSpan.FromMilliseconds(20);

    public TimeSpan LongestReconnectPause { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Times <see cref="XenStoreClient.TransactAsync{T}"/> runs its body before it gives up on conflicts.</summary>
    public int TransactionTries { get; init; } = 100;

    /// <summary>
    /// Upper end of the pause after a conflict, which starts at 1 ms and doubles. Each pause is a random part of the
    /// bound, so that two writers do not meet again in step.
    /// </summary>
    public TimeSpan LongestConflictPause { get; init; } = TimeSpan.FromMilliseconds(50);

    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
