using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore.Transport;

namespace XenPciBack.XenStore;

/// <summary>
/// One connection from its opening to its end: requests out, replies matched by request id, watch events handed on.
/// It ends once, for one cause, and every call still waiting fails with that cause.
/// </summary>
internal sealed class XenStoreConnection : IAsyncDisposable
{
    private readonly XenStoreTransport _transport;
    private readonly Action<string, string> _onWatchEvent;
    private readonly Lock _gate = new();
    private readonly Dictionary<uint, PendingRequest> _pending = [];
    private readonly SemaphoreSlim _freeSlots;
    private readonly SemaphoreSlim _sending = new(1);
    private readonly CancellationTokenSource _ending = new();
    private readonly TaskCompletionSource<Exception?> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isOver;
    private Exception? _cause;
    private uint _lastRequestId;

    /// <summary>
    /// Starts reading. <paramref name="onWatchEvent"/> gets each event's path and token, on the reader; it must neither
    /// block nor throw.
    /// </summary>
    public XenStoreConnection(XenStoreTransport transport, int requestsInFlight, Action<string, string> onWatchEvent)
    {
        _transport = transport;
        _onWatchEvent = onWatchEvent;
        _freeSlots = new(Math.Min(requestsInFlight, transport.RequestsInFlightLimit));
        _ = ReadUntilEndAsync();
    }

    /// <summary>Completes, never faults, when the connection is over: with the cause, or null when xenstored closed it.</summary>
    public Task<Exception?> Ended => _ended.Task;

    /// <summary>
    /// Sends one request and waits for its reply's payload. <paramref name="subject"/>, the path or domid it is about, is
    /// for error messages only.
    /// </summary>
    /// <exception cref="ArgumentException">The payload is longer than this connection carries.</exception>
    public async Task<byte[]> RequestAsync(
        XenStoreMessageType operation, uint transactionId, byte[] payload, string subject)
    {
        if (payload.Length > _transport.SentPayloadLimit)
            throw new ArgumentException($"{operation} {subject}: a payload of {payload.Length} bytes does not fit; "
                + $"this connection carries at most {_transport.SentPayloadLimit}.", nameof(payload));
        await EnterAsync(_freeSlots).ConfigureAwait(false);
        try
        {
            var request = new PendingRequest(operation, subject);
            await SendAsync(request, transactionId, payload).ConfigureAwait(false);
            return await request.Reply.Task.ConfigureAwait(false);
        }
        finally
        {
            _freeSlots.Release();
        }
    }

    /// <summary>Ends the connection because its owner wants so.</summary>
    public ValueTask DisposeAsync() => EndAsync(new ObjectDisposedException(nameof(XenStoreClient)));

    private async Task SendAsync(PendingRequest request, uint transactionId, byte[] payload)
    {
        await EnterAsync(_sending).ConfigureAwait(false);
        try
        {
            var id = Add(request);
            var refusal = await _transport.SendAsync(
                XenStoreFrame.Encode(request.Operation, id, transactionId, payload), _ending.Token).ConfigureAwait(false);
            if (refusal is not null && TryTake(id, out _))
                throw new XenStoreErrorReplyException(refusal, request.Operation, request.Subject);
        }
        catch (Exception lost) when (IsLoss(lost))
        {
            await EndAsync(lost).ConfigureAwait(false);
            throw Lost();
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task ReadUntilEndAsync()
    {
        await Task.Yield(); // The constructor's caller gets its object before the first event.
        try
        {
            var buffer = new byte[XenStoreHeader.Size + XenStoreLimits.AcceptedPayload];
            var filled = 0;
            while (await _transport.ReceiveAsync(buffer.AsMemory(filled), _ending.Token).ConfigureAwait(false) is > 0 and var count)
            {
                filled += count;
                var used = Dispatch(buffer.AsSpan(0, filled));
                buffer.AsSpan(used, filled - used).CopyTo(buffer);
                filled -= used;
            }
            await EndAsync(null).ConfigureAwait(false);
        }
        catch (Exception lost) when (IsLoss(lost) || lost is XenStoreProtocolException)
        {
            await EndAsync(lost).ConfigureAwait(false);
        }
    }

    /// <summary>Handles every whole message at the front; returns how many bytes they took.</summary>
    private int Dispatch(ReadOnlySpan<byte> received)
    {
        var used = 0;
        while (true)
        {
            var frame = XenStoreFrame.Decode(received[used..], XenStoreLimits.AcceptedPayload);
            if (frame.Status == XenStoreFrameStatus.NeedsMoreBytes)
                return used;
            if (frame.Status == XenStoreFrameStatus.Malformed)
                throw new XenStoreProtocolException(
                    $"a message announces {frame.Header.PayloadLength} bytes; {XenStoreLimits.AcceptedPayload} are accepted");
            var payload = frame.PayloadIn(received[used..]);
            // The type first: through the device node the request id of an event is whatever was in kernel memory.
            if (frame.Header.Type == XenStoreMessageType.WatchEvent)
                DispatchEvent(payload);
            else
                DispatchReply(frame.Header, payload);
            used += frame.FrameLength;
        }
    }

    private void DispatchEvent(ReadOnlySpan<byte> payload)
    {
        if (!XenStorePayload.TryTakeString(ref payload, out var path)
            || !XenStorePayload.TryTakeString(ref payload, out var token))
            throw new XenStoreProtocolException("a watch event is not a path and a token");
        _onWatchEvent(path, token);
    }

    private void DispatchReply(XenStoreHeader header, ReadOnlySpan<byte> payload)
    {
        if (!TryTake(header.RequestId, out var request))
            throw new XenStoreProtocolException($"a reply of type {header.Type} to request {header.RequestId}, which is not open");
        if (header.Type == request.Operation)
            request.Reply.TrySetResult(payload.ToArray());
        else if (header.Type == XenStoreMessageType.Error && XenStorePayload.TryTakeString(ref payload, out var name))
            request.Reply.TrySetException(new XenStoreErrorReplyException(name, request.Operation, request.Subject));
        else
        {
            var flaw = new XenStoreProtocolException($"{request.Operation} {request.Subject} was answered by type {header.Type}");
            request.Reply.TrySetException(flaw);
            throw flaw;
        }
    }

    private uint Add(PendingRequest request)
    {
        lock (_gate)
        {
            if (_isOver)
                throw Lost();
            do
                _lastRequestId++;
            while (_lastRequestId == 0 || !_pending.TryAdd(_lastRequestId, request));
            return _lastRequestId;
        }
    }

    private bool TryTake(uint id, out PendingRequest request)
    {
        lock (_gate)
            return _pending.Remove(id, out request);
    }

    private async Task EnterAsync(SemaphoreSlim semaphore)
    {
        try
        {
            await semaphore.WaitAsync(_ending.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            throw Lost();
        }
    }

    private async ValueTask EndAsync(Exception? why)
    {
        PendingRequest[] failed;
        lock (_gate)
        {
            if (_isOver)
                return;
            _isOver = true;
            _cause = why;
            failed = [.. _pending.Values];
            _pending.Clear();
        }
        foreach (var request in failed)
            request.Reply.TrySetException(Lost());
        await _ending.CancelAsync().ConfigureAwait(false);
        await _transport.DisposeAsync().ConfigureAwait(false);
        _ended.TrySetResult(why);
    }

    private Exception Lost() => _cause switch
    {
        ObjectDisposedException => new ObjectDisposedException(nameof(XenStoreClient)),
        null => new XenStoreConnectionLostException("xenstored closed the connection"),
        _ => new XenStoreConnectionLostException($"the connection to xenstored is lost: {_cause.Message}", _cause),
    };

    private static bool IsLoss(Exception e) => e is IOException or ObjectDisposedException or OperationCanceledException;

    private readonly record struct PendingRequest(XenStoreMessageType Operation, string Subject)
    {
        public TaskCompletionSource<byte[]> Reply { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
