using System.Net.Sockets;
using System.Threading.Channels;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>
/// One accepted socket. The next request is read only when the reply to the one before is written, and a watch event
/// that already waits to be sent is not queued twice: a client that does not read stops being served. Should even its
/// different events come to more than <see cref="QueuedEventBytes"/>, it is disconnected.
/// </summary>
internal sealed class ClientConnection : IDisposable
{
    /// <summary>Unsent watch events, in bytes. Our bound: C xenstored has one only for guests, 2.5 MB of memory in all.</summary>
    public const int QueuedEventBytes = 4 * 1024 * 1024;

    private readonly Socket _socket;
    private readonly Channel<Outgoing> _outbox = Channel.CreateUnbounded<Outgoing>(new() { SingleReader = true });
    private readonly SemaphoreSlim _replyWritten = new(0);
    private readonly Lock _gate = new();
    private readonly HashSet<(string Path, string Token)> _queuedEvents = [];
    private int _queuedBytes;
    private volatile bool _isClosed;

    public ClientConnection(Socket socket, int domid)
    {
        _socket = socket;
        Client = new StoreClient(domid, QueueEvent);
    }

    public StoreClient Client { get; }

    /// <summary>
    /// Serves the client until either side closes; never faults. <paramref name="handle"/> answers each request with one
    /// <see cref="QueueReply"/>.
    /// </summary>
    public Task ServeAsync(Action<ClientConnection, XenStoreHeader, ReadOnlyMemory<byte>> handle) =>
        Task.WhenAll(UntilClosedAsync(ReadRequestsAsync(handle)), UntilClosedAsync(WriteMessagesAsync()));

    public void QueueReply(byte[] reply, StoreWatch? firstEvent)
    {
        _outbox.Writer.TryWrite(new(reply, null));
        if (firstEvent is not null)
            QueueEvent(firstEvent.Given, firstEvent.Token);
    }

    public void Dispose()
    {
        _isClosed = true;
        _outbox.Writer.TryComplete();
        _socket.Dispose();
        _replyWritten.Release(); // for a reader that waits for a reply which nobody will write
    }

    private void QueueEvent(string path, string token)
    {
        var payload = XenStorePayload.Strings(path, token);
        if (payload.Length > XenStoreLimits.SentPayload)
            return; // the client's own token leaves no room for the path: there is no message that could tell it
        lock (_gate)
        {
            if (!_queuedEvents.Add((path, token)))
                return;
            _queuedBytes += payload.Length;
        }
        if (_queuedBytes > QueuedEventBytes)
            Dispose();
        else
            _outbox.Writer.TryWrite(new(XenStoreFrame.Encode(XenStoreMessageType.WatchEvent, 0, 0, payload), (path, token)));
    }

    private async Task ReadRequestsAsync(Action<ClientConnection, XenStoreHeader, ReadOnlyMemory<byte>> handle)
    {
        var buffer = new byte[XenStoreHeader.Size + XenStoreLimits.SentPayload];
        var filled = 0;
        while (await _socket.ReceiveAsync(buffer.AsMemory(filled)).ConfigureAwait(false) is > 0 and var count)
        {
            filled += count;
            XenStoreFrame frame;
            while ((frame = XenStoreFrame.Decode(buffer.AsSpan(0, filled), XenStoreLimits.SentPayload)).Status == XenStoreFrameStatus.Message)
            {
                handle(this, frame.Header, buffer.AsMemory(XenStoreHeader.Size, (int)frame.Header.PayloadLength));
                await _replyWritten.WaitAsync().ConfigureAwait(false);
                if (_isClosed)
                    return;
                filled -= frame.FrameLength;
                buffer.AsSpan(frame.FrameLength, filled).CopyTo(buffer);
            }
            if (frame.Status == XenStoreFrameStatus.Malformed)
                return;
        }
    }

    private async Task WriteMessagesAsync()
    {
        await foreach (var (message, watchEvent) in _outbox.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            if (watchEvent is { } sent)
            {
                // Before it is sent: a change from here on is news to the client.
                lock (_gate)
                {
                    _queuedEvents.Remove(sent);
                    _queuedBytes -= message.Length - XenStoreHeader.Size;
                }
            }
            for (var rest = (ReadOnlyMemory<byte>)message; !rest.IsEmpty;)
                rest = rest[await _socket.SendAsync(rest).ConfigureAwait(false)..];
            if (watchEvent is null)
                _replyWritten.Release();
        }
    }

    private async Task UntilClosedAsync(Task serving)
    {
        try
        {
            await serving.ConfigureAwait(false);
        }
        catch (Exception closed) when (closed is SocketException or ObjectDisposedException or OperationCanceledException)
        {
        }
        Dispose();
    }

    private readonly record struct Outgoing(byte[] Message, (string Path, string Token)? WatchEvent);
}
