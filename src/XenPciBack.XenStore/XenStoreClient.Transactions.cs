using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore;

public sealed partial class XenStoreClient
{
    /// <summary>
    /// Runs <paramref name="body"/> in a transaction and commits it. When others got in between (EAGAIN) everything is
    /// run again from the beginning, after a short pause, up to <see cref="XenStoreClientOptions.TransactionTries"/>
    /// times: the body must read what it decides on inside the transaction and have no effect but through it. When
    /// the body throws, nothing of it is stored and its exception goes to the caller.
    /// </summary>
    /// <exception cref="XenStoreConflictException">Every try met a conflict.</exception>
    public async Task<T> TransactAsync<T>(Func<XenStoreTransaction, Task<T>> body)
    {
        var bound = TimeSpan.FromMilliseconds(1);
        for (var tries = 1; ; tries++)
        {
            try
            {
                return await TryTransactAsync(body).ConfigureAwait(false);
            }
            catch (XenStoreErrorReplyException conflict) when (conflict.ErrorName == XenStoreErrorName.EAGAIN)
            {
                if (tries >= _options.TransactionTries)
                    throw new XenStoreConflictException(tries);
            }
            await Task.Delay(bound * Random.Shared.NextDouble(), _options.TimeProvider).ConfigureAwait(false);
            bound = TimeSpan.FromTicks(Math.Min(bound.Ticks * 2, _options.LongestConflictPause.Ticks));
        }
    }

    /// <inheritdoc cref="TransactAsync{T}"/>
    public Task TransactAsync(Func<XenStoreTransaction, Task> body) =>
        TransactAsync(async tx =>
        {
            await body(tx).ConfigureAwait(false);
            return true;
        });

    private async Task<T> TryTransactAsync<T>(Func<XenStoreTransaction, Task<T>> body)
    {
        var tx = await StartTransactionAsync().ConfigureAwait(false);
        T result;
        try
        {
            result = await body(tx).ConfigureAwait(false);
        }
        catch
        {
            await AbortAsync(tx).ConfigureAwait(false);
            throw;
        }
        await EndAsync(tx, commit: true).ConfigureAwait(false);
        return result;
    }

    private async Task<XenStoreTransaction> StartTransactionAsync()
    {
        var connection = await ConnectedAsync().ConfigureAwait(false);
        var reply = TextOf(await connection.RequestAsync(
            XenStoreMessageType.TransactionStart, 0, XenStorePayload.Strings(""), "").ConfigureAwait(false));
        return uint.TryParse(reply, out var id) && id != 0
            ? new XenStoreTransaction(connection, id)
            : throw new XenStoreProtocolException($"\"{reply}\" is no transaction id");
    }

    private async Task EndAsync(XenStoreTransaction tx, bool commit) =>
        await RequestAsync(XenStoreMessageType.TransactionEnd, XenStorePayload.Strings(commit ? "T" : "F"), tx.ToString(), tx)
            .ConfigureAwait(false);

    private async Task AbortAsync(XenStoreTransaction tx)
    {
        try
        {
            await EndAsync(tx, commit: false).ConfigureAwait(false);
        }
        catch (Exception lost) when (lost is XenStoreException or ObjectDisposedException)
        {
            // The transaction is gone with its connection or by xenstored's own decision: aborted either way, and the
            // caller is about to hear the body's exception, which matters more.
        }
    }
}
