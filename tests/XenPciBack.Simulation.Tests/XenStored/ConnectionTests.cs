using System.Net.Sockets;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.XenStored;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>The embedded xenstored's sockets: framing, clients that misbehave, domains that come and go.</summary>
public sealed class ConnectionTests : IAsyncLifetime
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30); // for broken code only
    private static readonly XenStorePath Node = new("/node");
    private readonly EmbeddedXenStored _xenstored =
        EmbeddedXenStored.Start(Path.Combine(Path.GetTempPath(), $"xenstored-{Guid.NewGuid():n}"));

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _xenstored.DisposeAsync();

    [Fact]
    public async Task Requests_cut_and_joined_anywhere_are_answered_in_order()
    {
        byte[] requests =
        [
            .. XenStoreFrame.Encode(XenStoreMessageType.Write, 1, 0, "/a\0one"u8),
            .. XenStoreFrame.Encode(XenStoreMessageType.Read, 2, 0, "/a\0"u8),
        ];
        byte[] replies =
        [
            .. XenStoreFrame.Encode(XenStoreMessageType.Write, 1, 0, "OK\0"u8),
            .. XenStoreFrame.Encode(XenStoreMessageType.Read, 2, 0, "one"u8),
        ];
        for (var at = 0; at <= requests.Length; at++)
        {
            using var socket = await ConnectRawAsync();
            await socket.SendAsync(requests.AsMemory(0, at));
            await socket.SendAsync(requests.AsMemory(at));
            Assert.Equal(replies, await ReceiveAsync(socket, replies.Length));
        }
    }

    [Fact]
    public async Task Errors_echo_both_ids()
    {
        using var socket = await ConnectRawAsync();
        await socket.SendAsync(XenStoreFrame.Encode(XenStoreMessageType.Read, 0xabcd, 77, "/a\0"u8));
        var expected = XenStoreFrame.Encode(XenStoreMessageType.Error, 0xabcd, 77, "ENOENT\0"u8);
        Assert.Equal(expected, await ReceiveAsync(socket, expected.Length));
    }

    [Fact]
    public async Task A_payload_beyond_the_protocols_limit_ends_the_connection()
    {
        using var socket = await ConnectRawAsync();
        var header = new byte[XenStoreHeader.Size];
        new XenStoreHeader(XenStoreMessageType.Write, 1, 0, XenStoreLimits.SentPayload + 1).Write(header);
        await socket.SendAsync(header);
        Assert.Empty(await ReceiveAsync(socket, 1));
    }

    [Fact]
    public async Task A_client_that_does_not_read_is_served_no_further_and_harms_nobody()
    {
        using var deaf = await ConnectRawAsync();
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        await client.WriteAsync(Node, new string('x', 4000));
        var request = XenStoreFrame.Encode(XenStoreMessageType.Read, 1, 0, "/node\0"u8);
        deaf.Blocking = false;
        var sent = 0;
        for (var before = -1; before != sent;)
        {
            // Until the kernel's buffers both ways are full, and stay full though the server was asked in between.
            before = sent;
            while (deaf.Send(request, SocketFlags.None, out var error) is > 0 and var count && error == SocketError.Success)
                sent += count;
            for (var i = 0; i < 100; i++)
                await client.ReadAsync(Node);
        }
        Assert.InRange(sent, 1, 64 * 1024 * 1024);
    }

    [Fact]
    public async Task A_watcher_that_does_not_read_is_disconnected_before_its_events_fill_the_memory()
    {
        using var deaf = await ConnectRawAsync();
        await deaf.SendAsync(XenStoreFrame.Encode(XenStoreMessageType.Watch, 1, 0, "/deep\0t\0"u8));
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        var deep = new XenStorePath("/deep") / new string('x', 2900);
        var most = ClientConnection.QueuedEventBytes / 2900 + 1000; // and what the kernel's buffers take
        for (var i = 0; i < most; i++)
            await client.WriteAsync(deep / i, "");
        deaf.ReceiveTimeout = (int)Limit.TotalMilliseconds;
        var buffer = new byte[1024 * 1024];
        Assert.True(await DrainAsync().WaitAsync(Limit) < most * 3000);

        async Task<long> DrainAsync()
        {
            long total = 0;
            try
            {
                while (await deaf.ReceiveAsync(buffer) is > 0 and var count)
                    total += count;
            }
            catch (SocketException)
            {
            }
            return total;
        }
    }

    [Fact]
    public async Task An_event_that_waits_to_be_sent_is_not_queued_again()
    {
        using var deaf = await ConnectRawAsync();
        await deaf.SendAsync(XenStoreFrame.Encode(XenStoreMessageType.Watch, 1, 0, "/node\0t\0"u8));
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        var events = 0;
        // Far more than buffers hold, were each sent: 26 bytes each.
        await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 1000; i++)
                await client.WriteAsync(Node, "");
        })));
        await client.WriteAsync(new("/node/last"), "");
        var received = "";
        var buffer = new byte[65536];
        while (!received.Contains("/node/last\0t\0", StringComparison.Ordinal))
        {
            var count = await deaf.ReceiveAsync(buffer).WaitAsync(Limit);
            Assert.NotEqual(0, count);
            received += System.Text.Encoding.Latin1.GetString(buffer, 0, count);
        }
        events = received.Split("/node\0t\0").Length - 1;
        Assert.InRange(events, 1, 50_000);
    }

    [Fact]
    public async Task A_guest_connects_while_it_is_introduced()
    {
        await Assert.ThrowsAsync<XenStoreUnreachableException>(() => _xenstored.ConnectAsDomain(5));
        _xenstored.IntroduceDomain(5);
        await using var guest = await _xenstored.ConnectAsDomain(5);
        var lost = new TaskCompletionSource();
        guest.ConnectionLost += _ => lost.SetResult();
        await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => guest.WriteAsync(Node, "1"));
        _xenstored.ReleaseDomain(5);
        await lost.Task.WaitAsync(Limit);
        await Assert.ThrowsAsync<XenStoreUnreachableException>(() => _xenstored.ConnectAsDomain(5));
    }

    [Fact]
    public async Task The_hooks_fire_the_special_watches()
    {
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        using var introduced = new SemaphoreSlim(0);
        using var released = new SemaphoreSlim(0);
        var onIntroduce = await client.WatchAsync(XenStorePath.IntroduceDomain, () => introduced.Release());
        var onRelease = await client.WatchAsync(XenStorePath.ReleaseDomain, () => released.Release());
        (Action Hook, SemaphoreSlim Signal, XenStoreWatch Watch)[] steps =
        [
            (() => { }, introduced, onIntroduce),
            (() => { }, released, onRelease),
            (() => _xenstored.IntroduceDomain(5), introduced, onIntroduce),
            (_xenstored.AnnounceShutdown, released, onRelease),
            (() => _xenstored.ReleaseDomain(5), released, onRelease),
        ];
        foreach (var (hook, signal, watch) in steps)
        {
            hook();
            Assert.True(await signal.WaitAsync(Limit));
            watch.Accept();
        }
    }

    [Fact]
    public async Task A_dead_connection_leaves_no_watch_and_no_transaction()
    {
        using (var socket = await ConnectRawAsync())
        {
            await socket.SendAsync(XenStoreFrame.Encode(XenStoreMessageType.TransactionStart, 1, 0, "\0"u8));
            await ReceiveAsync(socket, 1);
        }
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        await client.WriteAsync(Node, "1");
        Assert.Equal("1", await client.ReadAsync(Node));
    }

    [Fact]
    public async Task Sockets_are_gone_when_it_has_stopped()
    {
        _xenstored.IntroduceDomain(5);
        Assert.True(File.Exists(_xenstored.SocketPath) && File.Exists(_xenstored.SocketPath + ".5"));
        await _xenstored.DisposeAsync();
        Assert.False(File.Exists(_xenstored.SocketPath) || File.Exists(_xenstored.SocketPath + ".5"));
    }

    [Fact]
    public async Task A_socket_left_by_a_dead_process_is_replaced()
    {
        var path = _xenstored.SocketPath + "-stale";
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            dead.Bind(new UnixDomainSocketEndPoint(path));
        await using var second = EmbeddedXenStored.Start(path);
        await using var client = await XenStoreClient.ConnectAsync(second.Endpoint);
        Assert.True(await client.ExistsAsync(new("/tool")));
    }

    [Theory]
    [InlineData(true, "1")]
    [InlineData(false, null)]
    public async Task A_restart_keeps_or_loses_the_store(bool keepState, string? value)
    {
        await using (var before = await XenStoreClient.ConnectAsync(_xenstored.Endpoint))
            await before.WriteAsync(Node, "1");
        _xenstored.IntroduceDomain(5);
        await _xenstored.RestartAsync(keepState);
        await using var after = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        Assert.Equal((value, keepState), (await after.ReadAsync(Node), await after.IsDomainIntroducedAsync(5)));
    }

    [Fact]
    public async Task Every_change_is_announced_in_its_order_also_after_a_restart()
    {
        var changes = new List<string>();
        _xenstored.Changed += (path, value) => changes.Add($"{path}={value ?? "(gone)"}");
        await _xenstored.RestartAsync(keepState: false);
        await using var client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        await client.WriteAsync(Node, "1");
        await client.WriteAsync(Node, "1");
        await client.TransactAsync(async tx =>
        {
            await client.WriteAsync(new("/other"), "2", tx);
            await client.RemoveAsync(Node, tx);
        });
        Assert.Equal(["/node=1", "/node=1", "/other=2", "/node=(gone)"], changes);
    }

    private async Task<Socket> ConnectRawAsync()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_xenstored.SocketPath));
        return socket;
    }

    /// <summary>So many bytes, or fewer when the connection ends before.</summary>
    private static async Task<byte[]> ReceiveAsync(Socket socket, int length)
    {
        var buffer = new byte[length];
        var filled = 0;
        while (filled < length && await socket.ReceiveAsync(buffer.AsMemory(filled)).AsTask().WaitAsync(Limit) is > 0 and var count)
            filled += count;
        return buffer[..filled];
    }
}
