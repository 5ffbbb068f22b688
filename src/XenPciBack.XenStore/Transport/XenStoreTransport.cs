namespace XenPciBack.XenStore.Transport;

/// <summary>One open byte stream to xenstored. A sender and a receiver may be active at the same time, one of each.</summary>
internal abstract class XenStoreTransport : IAsyncDisposable
{
    /// <summary>Longest payload this way carries, in bytes.</summary>
    public abstract int SentPayloadLimit { get; }

    /// <summary>How many requests may wait for their replies at a time; at least 1.</summary>
    public virtual int RequestsInFlightLimit => int.MaxValue;

    /// <summary>Waits for some bytes; 0 means that the other side has closed.</summary>
    /// <exception cref="IOException">The connection is lost.</exception>
    public abstract ValueTask<int> ReceiveAsync(Memory<byte> buffer, CancellationToken ct);

    /// <summary>
    /// Sends one whole message. Null when it is on its way; an error name when the message was refused and no reply to
    /// it will come, which only the kernel's device node does.
    /// </summary>
    /// <exception cref="IOException">The connection is lost.</exception>
    public abstract ValueTask<string?> SendAsync(ReadOnlyMemory<byte> message, CancellationToken ct);

    public abstract ValueTask DisposeAsync();
}
