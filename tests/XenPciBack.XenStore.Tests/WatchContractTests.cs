using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client promises about watches, against any xenstored.</summary>
public sealed class WatchContractTests(ScratchStore store) : IClassFixture<ScratchStore>
{
    private readonly XenStoreClient _client = store.Client;
    private readonly XenStorePath _here = store.Root / Guid.NewGuid().ToString("n");

    [Fact]
    public async Task A_watch_fires_once_upon_registration_even_when_there_is_no_node()
    {
        await using var probe = await WatchProbe.StartAsync(_client, _here);
        Assert.Equal(1, probe.Notifications);
    }

    [Fact]
    public async Task A_watch_fires_for_the_node_its_descendants_and_the_removal_of_an_ancestor()
    {
        var node = _here / "frontend/state";
        await using var probe = await WatchProbe.StartAsync(_client, node);
        Func<Task>[] changes =
        [
            () => _client.WriteAsync(node, "1"),
            () => _client.WriteAsync(node / "below", "1"),
            () => _client.RemoveAsync(_here),
        ];
        foreach (var change in changes)
        {
            var before = probe.Notifications;
            await change();
            await probe.NotifiedAsync(before + 1);
            await DrainAsync(probe);
        }
    }

    [Fact]
    public async Task A_watch_does_not_fire_for_what_it_does_not_watch()
    {
        await using var probe = await WatchProbe.StartAsync(_client, _here / "node");
        await _client.WriteAsync(_here / "node-2", "a name that only starts alike");
        await _client.WriteAsync(_here, "the parent");
        // An event for either would come before the one for this.
        await using var barrier = await WatchProbe.StartAsync(_client, _here / "barrier");
        Assert.Equal(1, probe.Notifications);
    }

    [Fact]
    public async Task Changes_before_acceptance_are_one_notification_after_it()
    {
        await using var probe = await WatchProbe.StartAsync(_client, _here);
        for (var i = 0; i < 50; i++)
            await _client.WriteAsync(_here, $"{i}");
        await probe.NotifiedAsync(2);
        await BarrierAsync();
        Assert.Equal(2, probe.Notifications);

        probe.Watch.Accept();
        Assert.Equal(3, probe.Notifications);
        probe.Watch.Accept();
        Assert.Equal(3, probe.Notifications);
    }

    [Fact]
    public async Task A_transaction_fires_after_its_commit_only()
    {
        await using var probe = await WatchProbe.StartAsync(_client, _here);
        await _client.TransactAsync(async tx =>
        {
            await _client.WriteAsync(_here, "1", tx);
            await BarrierAsync();
            Assert.Equal(1, probe.Notifications);
        });
        await probe.NotifiedAsync(2);
    }

    [Fact]
    public async Task A_disposed_watch_is_silent()
    {
        var probe = await WatchProbe.StartAsync(_client, _here);
        await probe.DisposeAsync();
        await probe.DisposeAsync();
        await _client.WriteAsync(_here, "1");
        await BarrierAsync();
        Assert.Equal(1, probe.Notifications);
    }

    [Fact]
    public async Task Two_watches_on_one_path_are_independent()
    {
        await using var first = await WatchProbe.StartAsync(_client, _here);
        await using var second = await WatchProbe.StartAsync(_client, _here);
        await first.DisposeAsync();
        await _client.WriteAsync(_here, "1");
        await second.NotifiedAsync(2);
        Assert.Equal(1, first.Notifications);
    }

    [Fact]
    public async Task A_callback_that_throws_stops_neither_its_own_watch_nor_others()
    {
        var failures = 0;
        _client.WatchCallbackFailed += (_, failure) => failures += failure is NotSupportedException ? 1 : 0;
        await using var broken = await _client.WatchAsync(_here, () => throw new NotSupportedException());
        await using var probe = await WatchProbe.StartAsync(_client, _here);
        await Eventually.IsTrueAsync(() => failures == 1);
        broken.Accept();
        await _client.WriteAsync(_here, "1");
        await probe.NotifiedAsync(2);
        await Eventually.IsTrueAsync(() => failures == 2);
    }

    [Fact]
    public async Task An_event_whose_node_does_not_concern_the_owner_is_no_notification()
    {
        var notifications = 0;
        await using var watch = await _client.WatchAsync(
            _here, () => Interlocked.Increment(ref notifications), changed => !changed.IsAtOrBelow(_here / "other"));
        await Eventually.IsTrueAsync(() => notifications == 1);
        watch.Accept();
        await _client.WriteAsync(_here / "other/node", "1");
        await BarrierAsync();
        Assert.Equal(1, notifications);
        await _client.WriteAsync(_here / "node", "1");
        await Eventually.IsTrueAsync(() => notifications == 2);
    }

    [Fact]
    public async Task Special_names_can_be_watched()
    {
        await using var introduced = await WatchProbe.StartAsync(_client, XenStorePath.IntroduceDomain);
        await using var released = await WatchProbe.StartAsync(_client, XenStorePath.ReleaseDomain);
    }

    /// <summary>Every event that xenstored sent before now has been handled once this returns.</summary>
    private async Task BarrierAsync()
    {
        var barrier = _here / $"barrier-{Guid.NewGuid():n}";
        await (await WatchProbe.StartAsync(_client, barrier)).DisposeAsync();
    }

    private async Task DrainAsync(WatchProbe probe)
    {
        // A removal may come as several events, for C xenstored tells of each removed descendant that is watched.
        await BarrierAsync();
        for (var seen = -1; seen != probe.Notifications;)
        {
            seen = probe.Notifications;
            probe.Watch.Accept();
        }
    }
}
