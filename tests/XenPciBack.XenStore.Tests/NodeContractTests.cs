using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client promises about nodes, against any xenstored.</summary>
public sealed class NodeContractTests(ScratchStore store) : IClassFixture<ScratchStore>
{
    private readonly XenStoreClient client = store.Client;
    private readonly XenStorePath here = store.Root / Guid.NewGuid().ToString("n");

    [Fact]
    public async Task What_is_written_is_read()
    {
        await client.WriteAsync(here, "0000:03:00.0");
        Assert.Equal("0000:03:00.0", await client.ReadAsync(here));
    }

    [Fact]
    public async Task A_missing_node_reads_as_null()
    {
        Assert.Null(await client.ReadAsync(here));
        Assert.Null(await client.ListAsync(here));
        Assert.Null(await client.GetPermissionsAsync(here));
        Assert.False(await client.ExistsAsync(here));
    }

    [Fact]
    public async Task An_empty_value_is_not_absence()
    {
        await client.WriteAsync(here, "");
        Assert.Equal("", await client.ReadAsync(here));
        Assert.Equal([], await client.ListAsync(here));
        Assert.True(await client.ExistsAsync(here));
    }

    [Fact]
    public async Task Every_byte_comes_back_unchanged()
    {
        var allBytes = string.Concat(Enumerable.Range(0, 256).Select(b => (char)b));
        await client.WriteAsync(here, allBytes);
        Assert.Equal(allBytes, await client.ReadAsync(here));
    }

    [Fact]
    public async Task A_character_beyond_one_byte_is_refused_before_anything_is_sent() =>
        await Assert.ThrowsAsync<ArgumentException>(() => client.WriteAsync(here, "€"));

    [Fact]
    public async Task A_payload_beyond_the_limit_is_refused_and_the_connection_goes_on()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => client.WriteAsync(here, new string('x', XenStoreLimits.SentPayload)));
        Assert.False(await client.ExistsAsync(here));
    }

    [Fact]
    public async Task Writing_creates_the_missing_parents()
    {
        await client.WriteAsync(here / "a/b/c", "1");
        Assert.Equal("", await client.ReadAsync(here / "a/b"));
        Assert.Equal(["c"], await client.ListAsync(here / "a/b"));
    }

    [Fact]
    public async Task Children_are_listed_by_name()
    {
        foreach (var name in (string[])["dev-0", "dev-1", "key-0"])
            await client.WriteAsync(here / name, "");
        Assert.Equal(["dev-0", "dev-1", "key-0"], (await client.ListAsync(here))!.Order());
    }

    [Fact]
    public async Task A_directory_longer_than_a_message_is_listed_whole()
    {
        // C xenstored answers E2BIG and hands out parts; oxenstored sends one oversized reply.
        var names = Enumerable.Range(0, 300).Select(i => $"a-rather-long-name-for-a-node-{i:d3}").ToArray();
        await client.TransactAsync(async tx =>
        {
            foreach (var name in names)
                await client.WriteAsync(here / name, "", tx);
        });
        Assert.Equal(names, (await client.ListAsync(here))!.Order());
    }

    [Fact]
    public async Task Making_a_directory_twice_keeps_what_is_there()
    {
        await client.WriteAsync(here, "kept");
        await client.MakeDirectoryAsync(here);
        Assert.Equal("kept", await client.ReadAsync(here));
    }

    [Fact]
    public async Task Removing_takes_everything_below()
    {
        await client.WriteAsync(here / "a/b", "1");
        await client.RemoveAsync(here);
        Assert.Null(await client.ReadAsync(here / "a/b"));
        Assert.Null(await client.ReadAsync(here));
    }

    [Fact]
    public async Task Removing_a_missing_child_is_fine_but_not_below_a_missing_parent()
    {
        await client.MakeDirectoryAsync(here);
        await client.RemoveAsync(here / "missing");
        var error = await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => client.RemoveAsync(here / "missing/child"));
        Assert.Equal(
            (XenStoreErrorName.ENOENT, XenStoreMessageType.Rm, (here / "missing/child").Text),
            (error.ErrorName, error.Operation, error.Path));
    }

    [Fact]
    public async Task Permissions_come_back_as_set_and_are_inherited()
    {
        var permissions = XenStorePermission.ParseList("n0,r5,b6");
        await client.WriteAsync(here, "");
        await client.SetPermissionsAsync(here, permissions);
        await client.WriteAsync(here / "child", "");
        Assert.Equal(permissions, await client.GetPermissionsAsync(here));
        Assert.Equal(permissions, await client.GetPermissionsAsync(here / "child"));
    }

    [Fact]
    public async Task The_home_of_any_domain_is_known() =>
        Assert.Equal("/local/domain/4711", (await client.GetDomainPathAsync(4711)).Text);

    [Fact]
    public async Task A_domain_nobody_introduced_is_not_introduced() =>
        Assert.False(await client.IsDomainIntroducedAsync(32000));

    [Fact]
    public async Task Many_calls_at_once_each_get_their_own_answer()
    {
        await Task.WhenAll(Enumerable.Range(0, 500).Select(i => client.WriteAsync(here / i, $"{i}")));
        var values = await Task.WhenAll(Enumerable.Range(0, 500).Select(i => client.ReadAsync(here / i)));
        Assert.Equal(Enumerable.Range(0, 500).Select(i => $"{i}"), values);
    }

    [Fact]
    public async Task A_disposed_client_refuses_to_work()
    {
        var other = await XenStoreClient.ConnectAsync(store.Endpoint, TestContext.Current.CancellationToken);
        await other.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => other.ReadAsync(here));
    }
}
