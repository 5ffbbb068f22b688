using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.XenStored;

namespace XenPciBack.XenStore.Tests;

/// <summary>A connection lost and found again; needs the embedded xenstored's fault hooks.</summary>
public sealed class ReconnectionTests : IAsyncLifetime
{
    private static readonly XenStorePath Node = new("/node");
    private readonly EmbeddedXenStored _xenstored = EmbeddedXenStored.Start(TemporarySocket.NewPath());
    private XenStoreClient _client = null!;
    private int _lost, _reconnected;

    public async ValueTask InitializeAsync()
    {
        _client = await XenStoreClient.ConnectAsync(_xenstored.Endpoint);
        _client.ConnectionLost += _ => Interlocked.Increment(ref _lost);
        _client.Reconnected += () => Interlocked.Increment(ref _reconnected);
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        await _xenstored.DisposeAsync();
    }

    [Fact]
    public async Task Every_watch_fires_once_after_a_reconnection_and_works_again()
    {
        await using var accepted = await WatchProbe.StartAsync(_client, Node);
        await using var special = await WatchProbe.StartAsync(_client, XenStorePath.ReleaseDomain);
        _xenstored.DropConnections();
        await accepted.NotifiedAsync(2);
        await special.NotifiedAsync(2);
        await Eventually.IsTrueAsync(() => _reconnected == 1);
        Assert.Equal((2, 2, 1), (accepted.Notifications, special.Notifications, _lost));

        accepted.Watch.Accept();
        await _client.WriteAsync(Node, "1");
        await accepted.NotifiedAsync(3);
    }

    [Fact]
    public async Task A_notification_not_yet_accepted_is_followed_by_one_more()
    {
        await using var probe = await WatchProbe.StartAsync(_client, Node);
        await _client.WriteAsync(Node, "1");
        await probe.NotifiedAsync(2);
        await DropAndReturnAsync();
        Assert.Equal(2, probe.Notifications);
        // The first event of the restored watch may still be on its way when the client is back.
        await Eventually.IsTrueAsync(() =>
        {
            probe.Watch.Accept();
            return probe.Notifications == 3;
        });
    }

    [Fact]
    public async Task A_watch_disposed_before_the_loss_is_not_registered_again()
    {
        var probe = await WatchProbe.StartAsync(_client, Node);
        await probe.DisposeAsync();
        Assert.Equal(0, _xenstored.RegisteredWatches);
        await DropAndReturnAsync();
        Assert.Equal((0, 1), (_xenstored.RegisteredWatches, probe.Notifications));
    }

    [Fact]
    public async Task A_watch_disposed_while_disconnected_is_not_registered_again()
    {
        var probe = await WatchProbe.StartAsync(_client, Node);
        await _xenstored.SuspendAsync();
        await Eventually.IsTrueAsync(() => _lost == 1);
        await probe.DisposeAsync();
        _xenstored.Resume();
        await Eventually.IsTrueAsync(() => _reconnected == 1);
        Assert.Equal((0, 1), (_xenstored.RegisteredWatches, probe.Notifications));
    }

    [Fact]
    public async Task A_call_made_while_disconnected_waits_for_the_connection()
    {
        await _xenstored.SuspendAsync();
        await Eventually.IsTrueAsync(() => _lost == 1);
        var write = _client.WriteAsync(Node, "late");
        Assert.False(write.IsCompleted);
        _xenstored.Resume();
        await write;
        Assert.Equal("late", await _client.ReadAsync(Node));
    }

    [Fact]
    public async Task A_call_whose_patience_ends_fails_with_a_lost_connection()
    {
        var options = new XenStoreClientOptions { ReconnectPatience = TimeSpan.FromMilliseconds(1) };
        await using var impatient = await XenStoreClient.ConnectAsync(_xenstored.Endpoint, options, TestContext.Current.CancellationToken);
        var noticed = false;
        impatient.ConnectionLost += _ => noticed = true;
        await _xenstored.SuspendAsync();
        await Eventually.IsTrueAsync(() => Volatile.Read(ref noticed));
        var failure = await Assert.ThrowsAsync<XenStoreConnectionLostException>(() => impatient.ReadAsync(Node));
        Assert.Contains(_xenstored.SocketPath, failure.Message, StringComparison.Ordinal);
        Assert.True(failure.IsTransient);
    }

    [Fact]
    public async Task An_open_transaction_is_lost_with_its_connection()
    {
        await Assert.ThrowsAsync<XenStoreConnectionLostException>(() => _client.TransactAsync(async tx =>
        {
            await _client.WriteAsync(Node, "never", tx);
            await DropAndReturnAsync();
            await _client.WriteAsync(Node, "never", tx);
        }));
        Assert.Null(await _client.ReadAsync(Node));
    }

    [Fact]
    public async Task A_crash_that_loses_the_store_is_survived_too()
    {
        await _client.WriteAsync(Node, "1");
        await using var probe = await WatchProbe.StartAsync(_client, Node);
        await _xenstored.RestartAsync(keepState: false);
        await probe.NotifiedAsync(2);
        Assert.Null(await _client.ReadAsync(Node));
    }

    [Fact]
    public async Task Disposal_does_not_wait_for_a_xenstored_that_is_gone()
    {
        await _xenstored.SuspendAsync();
        await Eventually.IsTrueAsync(() => _lost == 1);
        var waiting = _client.ReadAsync(Node);
        await _client.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting);
    }

    [Fact]
    public async Task A_storm_of_losses_leaves_every_watch_registered()
    {
        await using var probe = await WatchProbe.StartAsync(_client, Node);
        for (var storm = 0; storm < 20; storm++)
        {
            // Some of these hit the client while it is still registering watches.
            _xenstored.DropConnections();
            await Task.Yield();
        }
        await ReadPatientlyAsync();
        await _client.WriteAsync(Node, "after the storm");
        await Eventually.IsTrueAsync(() =>
        {
            probe.Watch.Accept();
            return probe.Notifications > 2;
        });
    }

    [Fact]
    public async Task A_node_rewritten_without_end_keeps_one_notification_pending()
    {
        await using var probe = await WatchProbe.StartAsync(_client, Node);
        await using var guest = await XenStoreClient.ConnectAsync(_xenstored.Endpoint, TestContext.Current.CancellationToken);
        await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 100_000 / 64; i++)
                await guest.WriteAsync(Node, "again");
        })));
        await (await WatchProbe.StartAsync(_client, new("/barrier"))).DisposeAsync();
        Assert.Equal(2, probe.Notifications);
        probe.Watch.Accept();
        probe.Watch.Accept();
        Assert.Equal(3, probe.Notifications);
    }

    private async Task DropAndReturnAsync()
    {
        var before = _reconnected;
        _xenstored.DropConnections();
        await Eventually.IsTrueAsync(() => _reconnected > before);
    }

    private async Task ReadPatientlyAsync()
    {
        while (true)
        {
            try
            {
                await _client.ReadAsync(Node);
                return;
            }
            catch (XenStoreConnectionLostException)
            {
                await Task.Yield();
            }
        }
    }
}
