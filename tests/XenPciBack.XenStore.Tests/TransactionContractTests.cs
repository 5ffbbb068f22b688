using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client promises about transactions, against any xenstored.</summary>
public sealed class TransactionContractTests(ScratchStore store) : IClassFixture<ScratchStore>
{
    private readonly XenStoreClient _client = store.Client;
    private readonly XenStorePath _here = store.Root / Guid.NewGuid().ToString("n");

    [Fact]
    public async Task Writes_are_seen_inside_at_once_and_outside_after_the_commit()
    {
        await _client.TransactAsync(async tx =>
        {
            await _client.WriteAsync(_here, "new", tx);
            Assert.Equal("new", await _client.ReadAsync(_here, tx));
            Assert.Null(await _client.ReadAsync(_here));
        });
        Assert.Equal("new", await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task A_body_that_throws_leaves_nothing_behind()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => _client.TransactAsync(async tx =>
        {
            await _client.WriteAsync(_here, "never", tx);
            throw new InvalidOperationException();
        }));
        Assert.Null(await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task A_body_overtaken_by_another_writer_runs_again_on_fresh_values()
    {
        await _client.WriteAsync(_here, "1");
        var runs = 0;
        await _client.TransactAsync(async tx =>
        {
            var seen = await _client.ReadAsync(_here, tx);
            if (runs++ == 0)
                await _client.WriteAsync(_here, "10"); // outside: the conflict
            await _client.WriteAsync(_here, $"{int.Parse(seen!) + 1}", tx);
        });
        Assert.Equal((2, "11"), (runs, await _client.ReadAsync(_here)));
    }

    [Fact]
    public async Task Endless_conflicts_end_in_an_exception_that_says_so()
    {
        var options = new XenStoreClientOptions { TransactionTries = 3 };
        await using var impatient = await XenStoreClient.ConnectAsync(store.Endpoint, options, TestContext.Current.CancellationToken);
        var runs = 0;
        var conflict = await Assert.ThrowsAsync<XenStoreConflictException>(() => impatient.TransactAsync(async tx =>
        {
            await impatient.ReadAsync(_here, tx);
            await _client.WriteAsync(_here, $"{++runs}");
            await impatient.WriteAsync(_here, "mine", tx);
        }));
        Assert.Equal((3, 3, "3", true), (runs, conflict.Tries, await _client.ReadAsync(_here), conflict.IsTransient));
    }

    [Fact]
    public async Task Concurrent_increments_are_all_counted()
    {
        await _client.WriteAsync(_here, "0");
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 5; i++)
                await _client.TransactAsync(async tx =>
                    await _client.WriteAsync(_here, $"{int.Parse((await _client.ReadAsync(_here, tx))!) + 1}", tx));
        })));
        Assert.Equal("20", await _client.ReadAsync(_here));
    }

    [Fact]
    public async Task A_transaction_that_ended_is_unknown_to_xenstored()
    {
        XenStoreTransaction? ended = null;
        await _client.TransactAsync(tx => Task.FromResult(ended = tx));
        var error = await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => _client.WriteAsync(_here, "", ended));
        Assert.Contains(error.ErrorName, (string[])[XenStoreErrorName.ENOENT, XenStoreErrorName.EIO]); // C, oxenstored
    }

    [Fact]
    public async Task The_result_of_the_body_is_the_result_of_the_transaction() =>
        Assert.Equal(42, await _client.TransactAsync(_ => Task.FromResult(42)));
}
