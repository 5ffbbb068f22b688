using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client makes of a peer that is slow, terse or wrong, down to the byte.</summary>
public sealed class PeerConductTests : IAsyncLifetime
{
    private static readonly XenStorePath A = new("/a"), B = new("/b");
    private ScriptedPeer _peer = null!;
    private XenStoreClient _client = null!;

    public async ValueTask InitializeAsync() =>
        (_peer, _client) = await ScriptedPeer.ConnectAsync(new() { RequestsInFlight = 10 });

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        _peer.Dispose();
    }

    [Fact]
    public async Task A_request_is_on_the_wire_as_the_header_and_its_payload()
    {
        var write = _client.WriteAsync(A, "v");
        var (header, payload) = await _peer.ReceiveAsync();
        Assert.Equal((XenStoreMessageType.Write, 0u), (header.Type, header.TransactionId));
        Assert.Equal("/a\0v"u8.ToArray(), payload);
        await _peer.SendAsync(XenStoreMessageType.Write, header.RequestId, "OK\0");
        await write;
    }

    [Fact]
    public async Task Replies_in_another_order_reach_their_own_calls()
    {
        var a = _client.ReadAsync(A);
        var (first, _) = await _peer.ReceiveAsync();
        var b = _client.ReadAsync(B);
        var (second, _) = await _peer.ReceiveAsync();
        await _peer.SendAsync(XenStoreMessageType.Read, second.RequestId, "of b");
        Assert.Equal("of b", await b);
        await _peer.SendAsync(XenStoreMessageType.Read, first.RequestId, "of a");
        Assert.Equal("of a", await a);
    }

    [Fact]
    public async Task A_reply_in_single_bytes_is_one_reply()
    {
        var read = _client.ReadAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        foreach (var b in XenStoreFrame.Encode(XenStoreMessageType.Read, request.RequestId, 0, "piecewise"u8))
            await _peer.SendAsync([b]);
        Assert.Equal("piecewise", await read);
    }

    [Fact]
    public async Task An_oversized_directory_as_oxenstored_sends_it_is_accepted()
    {
        var list = _client.ListAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        var names = Enumerable.Range(0, 1000).Select(i => $"name-{i}").ToArray();
        await _peer.SendAsync(XenStoreMessageType.Directory, request.RequestId, string.Concat(names.Select(name => name + "\0")));
        Assert.Equal(names, await list);
    }

    [Fact]
    public async Task A_watch_event_is_known_by_its_type_even_with_the_request_id_of_an_open_call()
    {
        // Linux does not initialise the ids of events that come through /dev/xen/xenbus.
        var notified = 0;
        var watch = _client.WatchAsync(A, () => notified++);
        var (request, payload) = await _peer.ReceiveAsync();
        Assert.True(XenStorePayload.TrySplit(payload, out var arguments));
        await _peer.SendAsync(XenStoreMessageType.WatchEvent, request.RequestId, $"/a\0{arguments[1]}\0"); // before the OK, too
        await Eventually.IsTrueAsync(() => Volatile.Read(ref notified) == 1);
        Assert.False(watch.IsCompleted);
        await _peer.SendAsync(XenStoreMessageType.Watch, request.RequestId, "OK\0");
        await watch;
    }

    [Fact]
    public async Task An_event_for_an_unknown_token_is_dropped()
    {
        await _peer.SendAsync(XenStoreMessageType.WatchEvent, 0, "/a\0nobody's\0");
        var read = _client.ReadAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        await _peer.SendAsync(XenStoreMessageType.Read, request.RequestId, "still here");
        Assert.Equal("still here", await read);
    }

    [Fact]
    public async Task An_error_name_in_no_table_is_kept()
    {
        var read = _client.ReadAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        await _peer.SendAsync(XenStoreMessageType.Error, request.RequestId, "EQUOTA\0");
        Assert.Equal("EQUOTA", (await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => read)).ErrorName);
    }

    [Fact]
    public async Task A_directory_that_changes_between_two_parts_is_read_from_the_start()
    {
        var list = _client.ListAsync(A);
        await AnswerAsync(XenStoreMessageType.Error, "E2BIG\0", "/a\0");
        await AnswerAsync(XenStoreMessageType.DirectoryPart, "7\0one\0two\0", "/a\00\0");
        await AnswerAsync(XenStoreMessageType.DirectoryPart, "8\0four\0\0", "/a\08\0");
        await AnswerAsync(XenStoreMessageType.DirectoryPart, "8\0one\0three\0", "/a\00\0");
        await AnswerAsync(XenStoreMessageType.DirectoryPart, "8\0four\0\0", "/a\010\0");
        Assert.Equal(["one", "three", "four"], await list);

        async Task AnswerAsync(XenStoreMessageType type, string answer, string expected)
        {
            var (request, payload) = await _peer.ReceiveAsync();
            Assert.Equal(expected, XenStorePayload.Text(payload));
            await _peer.SendAsync(type, request.RequestId, answer);
        }
    }

    [Theory]
    [InlineData(XenStoreMessageType.Write, 0, "of another type")]
    [InlineData(XenStoreMessageType.Read, 1, "to a request nobody made")]
    [InlineData(XenStoreMessageType.Error, 0, "with an error name that has no NUL", "EINVAL")]
    [InlineData(XenStoreMessageType.WatchEvent, 0, "an event without token", "/a\0")]
    public async Task What_is_not_the_protocol_ends_the_connection(
        XenStoreMessageType type, uint requestIdOffset, string what, string payload = "OK\0")
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"a reply {what}");
        var cause = new TaskCompletionSource<Exception?>();
        _client.ConnectionLost += cause.SetResult;
        var read = _client.ReadAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        await _peer.SendAsync(type, request.RequestId + requestIdOffset, payload);
        Assert.IsType<XenStoreProtocolException>(
            await cause.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        await Assert.ThrowsAnyAsync<XenStoreException>(() => read);
    }

    [Fact]
    public async Task A_message_longer_than_we_accept_ends_the_connection_before_it_is_read()
    {
        var read = _client.ReadAsync(A);
        var (request, _) = await _peer.ReceiveAsync();
        var header = new byte[XenStoreHeader.Size];
        new XenStoreHeader(XenStoreMessageType.Read, request.RequestId, 0, XenStoreLimits.AcceptedPayload + 1).Write(header);
        await _peer.SendAsync(header);
        var lost = await Assert.ThrowsAsync<XenStoreConnectionLostException>(() => read);
        Assert.IsType<XenStoreProtocolException>(lost.InnerException);
    }

    [Fact]
    public async Task All_open_calls_fail_with_the_same_cause()
    {
        var calls = Enumerable.Range(0, 10).Select(_ => _client.ReadAsync(A)).ToArray();
        foreach (var _ in calls)
            await _peer.ReceiveAsync();
        await _peer.SendAsync(XenStoreMessageType.Read, 4711, "for nobody");
        var causes = new HashSet<Exception>(ReferenceEqualityComparer.Instance);
        foreach (var call in calls)
            causes.Add((await Assert.ThrowsAsync<XenStoreConnectionLostException>(() => call)).InnerException!);
        Assert.IsType<XenStoreProtocolException>(Assert.Single(causes));
    }

    [Fact]
    public async Task No_more_requests_are_sent_than_may_be_in_flight()
    {
        var calls = Enumerable.Range(0, 11).Select(_ => _client.ReadAsync(A)).ToArray();
        var (first, _) = await _peer.ReceiveAsync();
        for (var i = 1; i < 10; i++)
            await _peer.ReceiveAsync();
        var eleventh = _peer.ReceiveAsync();
        Assert.False(eleventh.IsCompleted);
        await _peer.SendAsync(XenStoreMessageType.Read, first.RequestId, "");
        await eleventh;
        Assert.Equal(1, calls.Count(call => call.IsCompleted));
    }

    [Fact]
    public async Task Disposal_does_not_wait_for_a_peer_that_never_answers()
    {
        var read = _client.ReadAsync(A);
        await _peer.ReceiveAsync();
        await _client.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => read);
    }
}
