using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client promises about nodes, against any xenstored.</summary>
public sealed class NodeContractTests(ScratchStore store) : IClassFixture<ScratchStore>
{
    private readonly XenStoreClient _client = store.Client;
    private readonly XenStorePath _here = store.Root / Guid.NewGuid().ToString("n");

    [Fact]
    public async Task What_is_written_is_read()
    {
        await _client.WriteAsync(_here, "0000:03:00.0");
        Assert.Equal("0000:03:00.0", await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task A_missing_node_reads_as_null()
    {
        Assert.Null(await _client.ReadAsync(_here));
        Assert.Null(await _client.ListAsync(_here));
        Assert.Null(await _client.GetPermissionsAsync(_here));
        Assert.False(await _client.ExistsAsync(_here));
    }

    [Fact]
    public async Task An_empty_value_is_not_absence()
    {
        await _client.WriteAsync(_here, "");
        Assert.Equal("", await _client.ReadAsync(_here));
        Assert.Equal([], await _client.ListAsync(_here));
        Assert.True(await _client.ExistsAsync(_here));
    }

    [Fact]
    public async Task Every_byte_comes_back_unchanged()
    {
        var allBytes = string.Concat(Enumerable.Range(0, 256).Select(b => (char)b));
        await _client.WriteAsync(_here, allBytes);
        Assert.Equal(allBytes, await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task A_character_beyond_one_byte_is_refused_before_anything_is_sent() =>
        await Assert.ThrowsAsync<ArgumentException>(() => _client.WriteAsync(_here, "€"));

    [Fact]
    public async Task A_payload_beyond_the_limit_is_refused_and_the_connection_goes_on()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => _client.WriteAsync(_here, new string('x', XenStoreLimits.SentPayload)));
        Assert.False(await _client.ExistsAsync(_here));
    }

    [Fact]
    public async Task Writing_creates_the_missing_parents()
    {
        await _client.WriteAsync(_here / "a/b/c", "1");
        Assert.Equal("", await _client.ReadAsync(_here / "a/b"));
        Assert.Equal(["c"], await _client.ListAsync(_here / "a/b"));
    }

    [Fact]
    public async Task Children_are_listed_by_name()
    {
        foreach (var name in (string[])["dev-0", "dev-1", "key-0"])
            await _client.WriteAsync(_here / name, "");
        Assert.Equal(["dev-0", "dev-1", "key-0"], (await _client.ListAsync(_here))!.Order());
    }

    [Fact]
    public async Task A_directory_longer_than_a_message_is_listed_whole()
    {
        // C xenstored answers E2BIG and hands out parts. oxenstored has no parts: to a socket it sends one oversized reply,
        // and through the kernel's ring, which cannot carry it, nobody can list such a directory.
        var names = Enumerable.Range(0, 300).Select(i => $"a-rather-long-name-for-a-node-{i:d3}").ToArray();
        await _client.TransactAsync(async tx =>
        {
            foreach (var name in names)
                await _client.WriteAsync(_here / name, "", tx);
        });
        try
        {
            Assert.Equal(names, (await _client.ListAsync(_here))!.Order());
        }
        catch (XenStoreErrorReplyException refused) when (store.Endpoint.ToString().EndsWith("/xenbus", StringComparison.Ordinal))
        {
            Assert.Equal($"xenstored answered ENOSYS to DirectoryPart {_here}", refused.Message);
        }
    }

    [Fact]
    public async Task Making_a_directory_twice_keeps_what_is_there()
    {
        await _client.WriteAsync(_here, "kept");
        await _client.MakeDirectoryAsync(_here);
        Assert.Equal("kept", await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task Removing_takes_everything_below()
    {
        await _client.WriteAsync(_here / "a/b", "1");
        await _client.RemoveAsync(_here);
        Assert.Null(await _client.ReadAsync(_here / "a/b"));
        Assert.Null(await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task Removing_a_missing_child_is_fine_but_not_below_a_missing_parent()
    {
        await _client.MakeDirectoryAsync(_here);
        await _client.RemoveAsync(_here / "missing");
        var error = await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => _client.RemoveAsync(_here / "missing/child"));
        Assert.Equal(
            (XenStoreErrorName.ENOENT, XenStoreMessageType.Rm, (_here / "missing/child").Text),
            (error.ErrorName, error.Operation, error.Path));
    }

    [Fact]
    public async Task Permissions_come_back_as_set_and_are_inherited()
    {
        var permissions = XenStorePermission.ParseList("n0,r5,b6");
        await _client.WriteAsync(_here, "");
        await _client.SetPermissionsAsync(_here, permissions);
        await _client.WriteAsync(_here / "child", "");
        Assert.Equal(permissions, await _client.GetPermissionsAsync(_here));
        Assert.Equal(permissions, await _client.GetPermissionsAsync(_here / "child"));
    }

    [Fact]
    public async Task The_home_of_any_domain_is_known() =>
        Assert.Equal("/local/domain/4711", (await _client.GetDomainPathAsync(4711)).Text);

    [Fact]
    public async Task A_domain_nobody_introduced_is_not_introduced() =>
        Assert.False(await _client.IsDomainIntroducedAsync(32000));

    [Fact]
    public async Task Many_calls_at_once_each_get_their_own_answer()
    {
        await Task.WhenAll(Enumerable.Range(0, 500).Select(i => _client.WriteAsync(_here / i, $"{i}")));
        var values = await Task.WhenAll(Enumerable.Range(0, 500).Select(i => _client.ReadAsync(_here / i)));
        Assert.Equal(Enumerable.Range(0, 500).Select(i => $"{i}"), values);
    }

    [Fact]
    public async Task A_disposed_client_refuses_to_work()
    {
        var other = await XenStoreClient.ConnectAsync(store.Endpoint, TestContext.Current.CancellationToken);
        await other.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => other.ReadAsync(_here));
    }
}
