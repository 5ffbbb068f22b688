using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>What the client promises about transactions, against any xenstored.</summary>
public sealed class TransactionContractTests(ScratchStore store) : IClassFixture<ScratchStore>
{
    private readonly XenStoreClient client = store.Client;
    private readonly XenStorePath here = store.Root / Guid.NewGuid().ToString("n");

    [Fact]
    public async Task Writes_are_seen_inside_at_once_and_outside_after_the_commit()
    {
        await client.TransactAsync(async tx =>
        {
            await client.WriteAsync(here, "new", tx);
            Assert.Equal("new", await client.ReadAsync(here, tx));
            Assert.Null(await client.ReadAsync(here));
        });
        Assert.Equal("new", await client.ReadAsync(here));
    }

    [Fact]
    public async Task A_body_that_throws_leaves_nothing_behind()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => client.TransactAsync(async tx =>
        {
            await client.WriteAsync(here, "never", tx);
            throw new InvalidOperationException();
        }));
        Assert.Null(await client.ReadAsync(here));
    }

    [Fact]
    public async Task A_body_overtaken_by_another_writer_runs_again_on_fresh_values()
    {
        await client.WriteAsync(here, "1");
        var runs = 0;
        await client.TransactAsync(async tx =>
        {
            var seen = await client.ReadAsync(here, tx);
            if (runs++ == 0)
                await client.WriteAsync(here, "10"); // outside: the conflict
            await client.WriteAsync(here, $"{int.Parse(seen!) + 1}", tx);
        });
        Assert.Equal((2, "11"), (runs, await client.ReadAsync(here)));
    }

    [Fact]
    public async Task Endless_conflicts_end_in_an_exception_that_says_so()
    {
        var options = new XenStoreClientOptions { TransactionTries = 3 };
        await using var impatient = await XenStoreClient.ConnectAsync(store.Endpoint, options, TestContext.Current.CancellationToken);
        var runs = 0;
        var conflict = await Assert.ThrowsAsync<XenStoreConflictException>(() => impatient.TransactAsync(async tx =>
        {
            await impatient.ReadAsync(here, tx);
            await client.WriteAsync(here, $"{++runs}");
            await impatient.WriteAsync(here, "mine", tx);
        }));
        Assert.Equal((3, 3, "3", true), (runs, conflict.Tries, await client.ReadAsync(here), conflict.IsTransient));
    }

    [Fact]
    public async Task Concurrent_increments_are_all_counted()
    {
        await client.WriteAsync(here, "0");
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 5; i++)
                await client.TransactAsync(async tx =>
                    await client.WriteAsync(here, $"{int.Parse((await client.ReadAsync(here, tx))!) + 1}", tx));
        })));
        Assert.Equal("20", await client.ReadAsync(here));
    }

    [Fact]
    public async Task A_transaction_that_ended_is_unknown_to_xenstored()
    {
        XenStoreTransaction? ended = null;
        await client.TransactAsync(tx => Task.FromResult(ended = tx));
        var error = await Assert.ThrowsAsync<XenStoreErrorReplyException>(() => client.WriteAsync(here, "", ended));
        Assert.Contains(error.ErrorName, (string[])[XenStoreErrorName.ENOENT, XenStoreErrorName.EIO]); // C, oxenstored
    }

    [Fact]
    public async Task The_result_of_the_body_is_the_result_of_the_transaction() =>
        Assert.Equal(42, await client.TransactAsync(_ => Task.FromResult(42)));
}
