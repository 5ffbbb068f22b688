using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore;

// Staying connected, and the watches, which outlive connections.
public sealed partial class XenStoreClient
{
    private readonly XenStoreEndpoint _endpoint;
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _disposing = new();
    private readonly Dictionary<string, XenStoreWatch> _watches = [];
    private TaskCompletionSource<XenStoreConnection> _connected = NewPromise();
    private XenStoreConnection? _current;
    private bool _isDisposed;
    private long _lastToken;
    private Task _keepConnected = Task.CompletedTask;

    private XenStoreClient(XenStoreEndpoint endpoint, XenStoreClientOptions options) =>
        (_endpoint, _options) = (endpoint, options);

    /// <summary>The connection ended: the cause, null when xenstored closed it. Called on a pool thread; must not block or throw.</summary>
    public event Action<Exception?>? ConnectionLost;

    /// <summary>A new connection stands and every watch is registered again. Called on a pool thread; must not block or throw.</summary>
    public event Action? Reconnected;

    /// <summary>xenstored has answered a request, with anything but an error, after this long. Called on any thread; must not block or throw.</summary>
    public event Action<TimeSpan>? Answered;

    /// <summary>An onChange callback threw; the watch goes on as if it had returned. Must not block or throw.</summary>
    public event Action<XenStoreWatch, Exception>? WatchCallbackFailed;

    /// <summary>
    /// Watches a node and everything below it, or a special name (<see cref="XenStorePath.IntroduceDomain"/>,
    /// <see cref="XenStorePath.ReleaseDomain"/>). xenstored fires each watch once upon registration, whether the node
    /// exists or not.
    /// </summary>
    /// <param name="path">Need not exist.</param>
    /// <param name="onChange">
    /// Something may have changed: read again. Called on the connection's reader, possibly before this method returns, so
    /// it must neither block nor throw; not called again until <see cref="XenStoreWatch.Accept"/>.
    /// </param>
    /// <param name="concerns">
    /// Asked on the reader, too, about the node that each event names; false: nothing has changed. null: all of them
    /// concern. The watch's own node stands for anything: xenstored names it upon registration, and when a connection
    /// comes back.
    /// </param>
    /// <remarks>
    /// When the connection is lost while xenstored is asked, the watch counts as registered: the next connection registers it.
    /// </remarks>
    public async Task<XenStoreWatch> WatchAsync(
        XenStorePath path, Action onChange, Func<XenStorePath, bool>? concerns = null)
    {
        var token = $"xenpciback-{Interlocked.Increment(ref _lastToken)}";
        var watch = new XenStoreWatch(this, path, token, onChange, concerns);
        var connection = await ConnectedAsync().ConfigureAwait(false);
        // Known before xenstored is asked: through the device node the first event may overtake the reply.
        while (!TryAdd(watch, connection))
            connection = await ConnectedAsync().ConfigureAwait(false);
        try
        {
            await RegisterAsync(watch, connection).ConfigureAwait(false);
        }
        catch (XenStoreConnectionLostException)
        {
        }
        catch
        {
            lock (_gate)
                _watches.Remove(watch.Token);
            throw;
        }
        return watch;
    }

    /// <summary>Ends the connection and the attempts to make one; calls under way fail with <see cref="ObjectDisposedException"/>.</summary>
    public async ValueTask DisposeAsync()
    {
        XenStoreConnection? last;
        lock (_gate)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            last = _current;
        }
        await _disposing.CancelAsync().ConfigureAwait(false);
        if (last is not null)
            await last.DisposeAsync().ConfigureAwait(false);
        await _keepConnected.ConfigureAwait(false);
    }

    internal async Task UnwatchAsync(XenStoreWatch watch)
    {
        XenStoreConnection? connection;
        lock (_gate)
        {
            _watches.Remove(watch.Token);
            connection = _current;
        }
        if (connection is not null)
            await UnregisterAsync(watch, connection).ConfigureAwait(false);
    }

    private async Task<XenStoreConnection> ConnectedAsync()
    {
        Task<XenStoreConnection> next;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            next = _connected.Task;
        }
        try
        {
            return await next.WaitAsync(_options.ReconnectPatience, _options.TimeProvider, _disposing.Token).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new XenStoreConnectionLostException(
                $"no connection to xenstored ({_endpoint}) came back within {_options.ReconnectPatience.TotalSeconds} s");
        }
        catch (OperationCanceledException)
        {
            throw new ObjectDisposedException(nameof(XenStoreClient));
        }
    }

    private async Task<XenStoreConnection> OpenAsync(CancellationToken ct) =>
        new(await _endpoint.OpenAsync(ct).ConfigureAwait(false), _options.RequestsInFlight, Notify);

    private void StartKeepingConnected(XenStoreConnection first)
    {
        lock (_gate)
            Publish(first);
        _keepConnected = KeepConnectedAsync(first);
    }

    private async Task KeepConnectedAsync(XenStoreConnection connection)
    {
        while (true)
        {
            var cause = await connection.Ended.ConfigureAwait(false);
            lock (_gate)
            {
                if (_isDisposed)
                    return;
                _current = null;
                _connected = NewPromise();
            }
            ConnectionLost?.Invoke(cause);
            if (await ReconnectAsync().ConfigureAwait(false) is not { } next)
                return;
            connection = next;
            Reconnected?.Invoke();
        }
    }

    /// <summary>Null when the client was disposed meanwhile.</summary>
    private async Task<XenStoreConnection?> ReconnectAsync()
    {
        for (var pause = _options.FirstReconnectPause; ; pause = Min(pause * 2, _options.LongestReconnectPause))
        {
            try
            {
                await Task.Delay(pause, _options.TimeProvider, _disposing.Token).ConfigureAwait(false);
                var connection = await OpenAsync(_disposing.Token).ConfigureAwait(false);
                // A xenstored that accepts but never answers must not hold up disposal.
                using var registration = _disposing.Token.Register(() => _ = connection.DisposeAsync().AsTask());
                if (await TryRestoreAsync(connection).ConfigureAwait(false))
                    return connection;
                await connection.DisposeAsync().ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return null;
            }
            catch (XenStoreUnreachableException)
            {
                // Not back yet.
            }
        }
    }

    /// <summary>
    /// Registers every watch on the new connection, and only then lets callers use it. xenstored's first event of each
    /// is the notification that makes its owner read everything again.
    /// </summary>
    private async Task<bool> TryRestoreAsync(XenStoreConnection connection)
    {
        try
        {
            var registered = new HashSet<XenStoreWatch>();
            while (true)
            {
                XenStoreWatch[] missing, disposed;
                lock (_gate)
                {
                    missing = [.. _watches.Values.Except(registered)];
                    disposed = [.. registered.Except(_watches.Values)];
                    if (missing is [] && disposed is [])
                        return !_isDisposed && Publish(connection);
                }
                foreach (var watch in missing)
                    await RegisterAsync(watch, connection).ConfigureAwait(false);
                foreach (var watch in disposed)
                    await UnregisterAsync(watch, connection).ConfigureAwait(false);
                registered.UnionWith(missing);
                registered.ExceptWith(disposed);
            }
        }
        catch (Exception failed) when (failed is XenStoreException or ObjectDisposedException)
        {
            return false;
        }
    }

    private bool Publish(XenStoreConnection connection)
    {
        _current = connection;
        _connected.SetResult(connection);
        return true;
    }

    private bool TryAdd(XenStoreWatch watch, XenStoreConnection connection)
    {
        lock (_gate)
            return _current == connection && _watches.TryAdd(watch.Token, watch);
    }

    private static async Task RegisterAsync(XenStoreWatch watch, XenStoreConnection connection) =>
        await connection.RequestAsync(XenStoreMessageType.Watch, 0,
            XenStorePayload.Strings(watch.Path.Text, watch.Token), watch.Path.Text).ConfigureAwait(false);

    private static async Task UnregisterAsync(XenStoreWatch watch, XenStoreConnection connection)
    {
        try
        {
            await connection.RequestAsync(XenStoreMessageType.Unwatch, 0,
                XenStorePayload.Strings(watch.Path.Text, watch.Token), watch.Path.Text).ConfigureAwait(false);
        }
        catch (Exception gone) when (gone is XenStoreException or ObjectDisposedException)
        {
            // The registration ended with its connection; if it did not, its events meet an unknown token.
        }
    }

    private void Notify(string path, string token)
    {
        XenStoreWatch? watch;
        lock (_gate)
            _watches.TryGetValue(token, out watch);
        try
        {
            // Unknown: unregistered while the event was under way.
            watch?.Notify(XenStorePath.TryParse(path, out var changed) ? changed : null);
        }
#pragma warning disable CA1031 // Whatever an owner's callback throws, the other watches' events must go on.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            WatchCallbackFailed?.Invoke(watch!, failure);
        }
    }

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    // Continuations elsewhere: the promise is kept under the gate.
    private static TaskCompletionSource<XenStoreConnection> NewPromise() =>
        new(TaskCreationOptions.RunContinuationsAsynchronously);
}
