using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore;

/// <summary>
/// A registered watch. However often the node or anything below it changes, its owner has at most one unhandled
/// notification, and one bit remembers that more happened meanwhile: a guest that rewrites a watched node without end
/// fills nothing here (XSA-349).
/// </summary>
/// <remarks>
/// <code>
///   Idle --event: onChange--> Notified --event--> NotifiedAgain --event--> (same)
///   Idle &lt;-------Accept------ Notified &lt;--Accept: onChange-- NotifiedAgain
/// </code>
/// </remarks>
public sealed class XenStoreWatch : IAsyncDisposable
{
    private const int Idle = 0, Notified = 1, NotifiedAgain = 2, Disposed = 3;

    private readonly XenStoreClient _client;
    private readonly Action _onChange;
    private readonly Func<XenStorePath, bool>? _concerns;
    private int _state;

    internal XenStoreWatch(
        XenStoreClient client, XenStorePath path, string token, Action onChange, Func<XenStorePath, bool>? concerns)
    {
        _client = client;
        _onChange = onChange;
        _concerns = concerns;
        Path = path;
        Token = token;
    }

    public XenStorePath Path { get; }

    /// <summary>What xenstored echoes in each event; unique in the client's life and without meaning.</summary>
    internal string Token { get; }

    /// <summary>
    /// The owner is about to read the store again, so the next change is news. Call it before reading: a change that
    /// comes while reading then notifies again. If something changed since the notification, onChange is called at
    /// once, by this call. Without an open notification it does nothing. Any thread.
    /// </summary>
    public void Accept()
    {
        if (Interlocked.CompareExchange(ref _state, Idle, Notified) == NotifiedAgain
            && Interlocked.CompareExchange(ref _state, Notified, NotifiedAgain) == NotifiedAgain)
            _onChange();
    }

    /// <summary>
    /// Unregisters the watch; idempotent. onChange is not called for events that arrive later, though a call already
    /// under way on the reader may still be running.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _state, Disposed) != Disposed)
            await _client.UnwatchAsync(this).ConfigureAwait(false);
    }

    /// <param name="changed">The node that has changed, at or below <see cref="Path"/>; null: its name is no
    /// path.</param>
    internal void Notify(XenStorePath? changed)
    {
        if (changed is { } node && _concerns?.Invoke(node) == false)
            return;
        if (Interlocked.CompareExchange(ref _state, Notified, Idle) == Idle)
            _onChange();
        else
            Interlocked.CompareExchange(ref _state, NotifiedAgain, Notified);
    }
}
