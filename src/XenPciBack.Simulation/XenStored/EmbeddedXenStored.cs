using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.Faults;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.XenStored;

/// <summary>
/// A xenstored in this process, speaking the real wire protocol on Unix sockets: Debian's xenstore tools and any other
/// client work against it (XENSTORED_PATH names the socket). The main socket is dom0's. Each introduced domain N has a
/// socket of its own beside it, named with ".N" at the end, whose clients act as that domain, so that anything that can
/// open a socket, xenstore-ls included, can see the store through a guest's eyes.
/// </summary>
/// <remarks>Thread-safe: requests and hooks go through one lock, one at a time, and never wait for I/O under it.</remarks>
public sealed class EmbeddedXenStored : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<int, Socket> _listeners = [];
    private readonly HashSet<ClientConnection> _connections = [];
    private readonly ConcurrentDictionary<Task, bool> _serving = [];
    private XenStoredCore _core = new();
    private bool _isUp;

    private EmbeddedXenStored(string socketPath) => SocketPath = socketPath;

    /// <summary>
    /// A node was written, or removed if the value is null: every single change in its order, where a watch only tells that there
    /// were some. Raised under the store's lock, so it must neither wait nor use a client.
    /// </summary>
    public event Action<XenStorePath, string?>? Changed;

    /// <summary>
    /// Fault: asked about each request of a dom0 client that names an absolute path, before it is handled. What it returns is the
    /// error that is the answer, null lets the request through; an <see cref="InjectedBugException"/> ends the client's connection. Others go on while it waits.
    /// </summary>
    public Func<XenStorePath, string?> Refusing { get; set; } = _ => null;

    /// <summary>dom0's socket; what XENSTORED_PATH has to say.</summary>
    public string SocketPath { get; }

    public XenStoreEndpoint Endpoint => EndpointOf(0);

    /// <summary>Watches registered at this moment, of all connections: what a client that cleans up leaves as it found it.</summary>
    public int RegisteredWatches
    {
        get
        {
            lock (_gate)
                return _connections.Sum(connection => connection.Client.Watches.Count);
        }
    }

    /// <summary>Listens at <paramref name="socketPath"/>, replacing a socket that a dead process left there.</summary>
    /// <param name="socketPath">At most about 100 bytes: the kernel's limit for a socket's address is 108.</param>
    /// <exception cref="SocketException">The path cannot be bound.</exception>
    public static EmbeddedXenStored Start(string socketPath)
    {
        var xenstored = new EmbeddedXenStored(socketPath);
        xenstored.Resume();
        return xenstored;
    }

    /// <summary>Where a client connects to act as a domain; it is served while the domain is introduced.</summary>
    public XenStoreEndpoint EndpointOf(int domid) => XenStoreEndpoint.Socket(SocketPathOf(domid));

    /// <summary>A client that acts as an introduced domain, with that domain's permissions and quotas.</summary>
    public Task<XenStoreClient> ConnectAsDomain(int domid) => XenStoreClient.ConnectAsync(EndpointOf(domid));

    /// <summary>Tells xenstored of a new domain, as the toolstack does; fires @introduceDomain. No nodes are created.</summary>
    public void IntroduceDomain(int domid)
    {
        lock (_gate)
            _core.Introduce(domid);
    }

    /// <summary>
    /// Tells xenstored that a domain is destroyed: its connections end, the nodes it owned go, @releaseDomain fires.
    /// </summary>
    public void ReleaseDomain(int domid)
    {
        lock (_gate)
            _core.Release(domid);
    }

    /// <summary>A domain has shut down or crashed and is not yet destroyed: fires @releaseDomain, and nothing else happens.</summary>
    public void AnnounceShutdown()
    {
        lock (_gate)
            _core.AnnounceShutdown();
    }

    /// <summary>Fault: ends every connection, dom0's and guests'. Clients may connect again at once.</summary>
    public void DropConnections()
    {
        lock (_gate)
        {
            foreach (var connection in _connections)
                connection.Dispose();
        }
    }

    /// <summary>Fault: xenstored is dead. Connections end and the sockets are gone until <see cref="Resume"/>.</summary>
    public async Task SuspendAsync()
    {
        lock (_gate)
        {
            _isUp = false;
            foreach (var domid in _listeners.Keys.ToArray())
                StopListening(domid);
            foreach (var connection in _connections)
                connection.Dispose();
        }
        await Task.WhenAll(_serving.Keys).ConfigureAwait(false);
    }

    /// <summary>Starts again on the same sockets after <see cref="SuspendAsync"/>.</summary>
    /// <param name="keepState">
    /// True for what a live update leaves (nodes and domains; but connections, and watches with them, are lost); false for
    /// a crash, after which only a fresh store is there and no domain but dom0.
    /// </param>
    public void Resume(bool keepState = true)
    {
        lock (_gate)
        {
            if (_isUp)
                return;
            _isUp = true;
            if (!keepState)
                _core = new();
            _core.Introduced -= StartListening;
            _core.Introduced += StartListening;
            _core.Released -= EndDomain;
            _core.Released += EndDomain;
            _core.Changed -= Announce;
            _core.Changed += Announce;
            foreach (var domid in _core.IntroducedDomains)
                StartListening(domid);
        }
    }

    /// <summary>Fault: <see cref="SuspendAsync"/> and <see cref="Resume"/>.</summary>
    public async Task RestartAsync(bool keepState)
    {
        await SuspendAsync().ConfigureAwait(false);
        Resume(keepState);
    }

    public async ValueTask DisposeAsync() => await SuspendAsync().ConfigureAwait(false);

    private string SocketPathOf(int domid) => domid == 0 ? SocketPath : $"{SocketPath}.{domid}";

    private void StartListening(int domid)
    {
        var path = SocketPathOf(domid);
        File.Delete(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            if (OperatingSystem.IsLinux())
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite); // as xenstored's own
            listener.Listen();
        }
        catch
        {
            listener.Dispose();
            throw;
        }
        _listeners.Add(domid, listener);
        Track(AcceptAsync(listener, domid));
    }

    private void StopListening(int domid)
    {
        if (!_listeners.Remove(domid, out var listener))
            return;
        listener.Dispose();
        File.Delete(SocketPathOf(domid));
    }

    private void EndDomain(int domid)
    {
        StopListening(domid);
        foreach (var connection in _connections.Where(connection => connection.Client.Domid == domid))
            connection.Dispose();
    }

    private async Task AcceptAsync(Socket listener, int domid)
    {
        try
        {
            while (true)
                Serve(await listener.AcceptAsync().ConfigureAwait(false), domid);
        }
        catch (Exception closed) when (closed is SocketException or ObjectDisposedException)
        {
        }
    }

    private void Serve(Socket socket, int domid)
    {
        var connection = new ClientConnection(socket, domid);
        lock (_gate)
        {
            if (!_listeners.ContainsKey(domid))
            {
                connection.Dispose(); // accepted while the listener was being closed
                return;
            }
            _connections.Add(connection);
            _core.Add(connection.Client);
            Track(ServeAsync(connection, _core));
        }
    }

    private async Task ServeAsync(ClientConnection connection, XenStoredCore core)
    {
        await Task.Yield(); // not under the caller's lock
        await connection.ServeAsync(Handle).ConfigureAwait(false);
        lock (_gate)
        {
            _connections.Remove(connection);
            core.Remove(connection.Client);
        }

        void Handle(ClientConnection from, XenStoreHeader request, ReadOnlyMemory<byte> payload)
        {
            if (from.Client.Domid == 0 && SubjectOf(payload.Span) is { } subject)
            {
                try
                {
                    if (Refusing(subject) is { } errorName)
                    {
                        from.QueueReply(((StoreReply)errorName).Encode(request), null);
                        return;
                    }
                }
                catch (InjectedBugException)
                {
                    from.Dispose();
                    return;
                }
            }
            lock (_gate)
            {
                var reply = core.Handle(from.Client, request, payload.Span);
                from.QueueReply(reply.Encode(request), reply.FirstEvent);
            }
        }
    }

    private static XenStorePath? SubjectOf(ReadOnlySpan<byte> payload) =>
        XenStorePayload.TryTakeString(ref payload, out var text) && text.StartsWith('/') && XenStorePath.TryParse(text, out var path) ? path : null;

    private void Announce(XenStorePath path, byte[]? value) => Changed?.Invoke(path, value is null ? null : Encoding.UTF8.GetString(value));

    private void Track(Task task)
    {
        _serving.TryAdd(task, true);
        task.ContinueWith(done => _serving.TryRemove(done, out _), TaskScheduler.Default);
    }
}
