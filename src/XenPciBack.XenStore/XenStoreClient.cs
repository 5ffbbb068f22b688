using System.Diagnostics;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore;

/// <summary>
/// An asynchronous client of xenstored. Thread-safe; several requests may be in flight. When the connection is lost,
/// calls waiting for an answer fail with <see cref="XenStoreConnectionLostException"/>, the client reconnects by itself,
/// registers every watch again and notifies each once, so that owners re-read everything.
/// </summary>
/// <remarks>
/// Every operation may throw <see cref="XenStoreErrorReplyException"/> (xenstored said no),
/// <see cref="XenStoreConnectionLostException"/> (the answer is not known, or no connection came back within
/// <see cref="XenStoreClientOptions.ReconnectPatience"/>), <see cref="XenStoreProtocolException"/>,
/// <see cref="ArgumentException"/> (payload longer than the transport carries, value with a character above U+00FF) and
/// <see cref="ObjectDisposedException"/>. An operation that names a transaction fails with that transaction's
/// connection and never waits for the next one. Values are Latin-1: one character per byte.
/// </remarks>
public sealed partial class XenStoreClient : IAsyncDisposable
{
    private readonly XenStoreClientOptions _options;

    /// <summary>Connects, once: no retry, so that a missing Xen shows at once.</summary>
    /// <exception cref="XenStoreUnreachableException">The message names every place tried and why it failed.</exception>
    public static Task<XenStoreClient> ConnectAsync(XenStoreEndpoint endpoint, CancellationToken ct = default) =>
        ConnectAsync(endpoint, new XenStoreClientOptions(), ct);

    /// <inheritdoc cref="ConnectAsync(XenStoreEndpoint, CancellationToken)"/>
    public static async Task<XenStoreClient> ConnectAsync(
        XenStoreEndpoint endpoint, XenStoreClientOptions options, CancellationToken ct = default)
    {
        var client = new XenStoreClient(endpoint, options);
        client.StartKeepingConnected(await client.OpenAsync(ct).ConfigureAwait(false));
        return client;
    }

    /// <summary>The node's value; null exactly when the node does not exist (ENOENT).</summary>
    public async Task<string?> ReadAsync(XenStorePath path, XenStoreTransaction? tx = null) =>
        await UnlessAbsent(RequestAsync(XenStoreMessageType.Read, path, tx)).ConfigureAwait(false) is { } value
            ? XenStorePayload.Text(value) : null;

    /// <summary>Stores a value, creating the node and its missing parents with the permissions of the nearest existing one.</summary>
    public Task WriteAsync(XenStorePath path, string value, XenStoreTransaction? tx = null) =>
        RequestAsync(XenStoreMessageType.Write, XenStorePayload.PathAndValue(path, value), path.Text, tx);

    /// <summary>Removes the node and everything below it. A missing node is fine unless its parent is missing too (ENOENT).</summary>
    public Task RemoveAsync(XenStorePath path, XenStoreTransaction? tx = null) =>
        RequestAsync(XenStoreMessageType.Rm, path, tx);

    /// <summary>Creates the node with an empty value, and its missing parents; nothing changes when it exists.</summary>
    public Task MakeDirectoryAsync(XenStorePath path, XenStoreTransaction? tx = null) =>
        RequestAsync(XenStoreMessageType.Mkdir, path, tx);

    /// <summary>The names of the node's children, in no particular order; null exactly when the node does not exist (ENOENT).</summary>
    public async Task<IReadOnlyList<string>?> ListAsync(XenStorePath path, XenStoreTransaction? tx = null)
    {
        try
        {
            return await UnlessAbsent(RequestAsync(XenStoreMessageType.Directory, path, tx)).ConfigureAwait(false) is { } names
                ? Split(names, path) : null;
        }
        catch (XenStoreErrorReplyException tooLong) when (tooLong.ErrorName == XenStoreErrorName.E2BIG)
        {
            return await ListInPartsAsync(path, tx).ConfigureAwait(false);
        }
    }

    /// <summary>True when the node exists; a node that may not be read is an error (EACCES), not an absence.</summary>
    public async Task<bool> ExistsAsync(XenStorePath path, XenStoreTransaction? tx = null) =>
        await ReadAsync(path, tx).ConfigureAwait(false) is not null;

    /// <summary>The node's permissions, the owner first; null exactly when the node does not exist (ENOENT).</summary>
    public async Task<IReadOnlyList<XenStorePermission>?> GetPermissionsAsync(XenStorePath path, XenStoreTransaction? tx = null) =>
        await UnlessAbsent(RequestAsync(XenStoreMessageType.GetPerms, path, tx)).ConfigureAwait(false) is { } entries
            ? [.. Split(entries, path).Select(entry => XenStorePermission.TryParse(entry, out var permission) ? permission
                : throw new XenStoreProtocolException($"\"{entry}\" is no permission of {path}"))]
            : null;

    /// <summary>Replaces the node's permissions. The first entry names the owner.</summary>
    public Task SetPermissionsAsync(
        XenStorePath path, IEnumerable<XenStorePermission> permissions, XenStoreTransaction? tx = null) =>
        RequestAsync(XenStoreMessageType.SetPerms,
            XenStorePayload.Strings([path.Text, .. permissions.Select(permission => permission.ToString())]), path.Text, tx);

    /// <summary>Where the domain's own nodes are; answered for domids that do not exist, too.</summary>
    public async Task<XenStorePath> GetDomainPathAsync(int domid) =>
        TextOf(await RequestAboutDomainAsync(XenStoreMessageType.GetDomainPath, domid).ConfigureAwait(false)) is var text
            && XenStorePath.TryParse(text, out var path) ? path
            : throw new XenStoreProtocolException($"\"{text}\" is no home of domain {domid}");

    /// <summary>True when xenstored serves the domain; false once it has been told of the domain's end.</summary>
    public async Task<bool> IsDomainIntroducedAsync(int domid) =>
        TextOf(await RequestAboutDomainAsync(XenStoreMessageType.IsDomainIntroduced, domid).ConfigureAwait(false)) == "T";

    private async Task<IReadOnlyList<string>?> ListInPartsAsync(XenStorePath path, XenStoreTransaction? tx)
    {
        var names = new List<string>();
        var offset = 0;
        string? generation = null;
        while (true)
        {
            var payload = XenStorePayload.Strings(path.Text, offset.ToString());
            var part = await UnlessAbsent(RequestAsync(XenStoreMessageType.DirectoryPart, payload, path.Text, tx)).ConfigureAwait(false);
            if (part is null)
                return null;
            if (Split(part, path) is not [var current, .. var children])
                throw new XenStoreProtocolException($"a part of directory {path} has no generation");
            if (generation is not null && generation != current)
            {
                // The directory changed between two parts: what we have may hold a name twice or miss one.
                (names, offset, generation) = ([], 0, null);
                continue;
            }
            generation = current;
            var isLast = children is [.., ""];
            names.AddRange(isLast ? children[..^1] : children);
            if (isLast)
                return names;
            if (children is [])
                throw new XenStoreProtocolException($"a part of directory {path} is empty and not the last");
            offset += children.Sum(name => name.Length + 1);
        }
    }

    private Task<byte[]> RequestAsync(XenStoreMessageType operation, XenStorePath path, XenStoreTransaction? tx) =>
        RequestAsync(operation, XenStorePayload.Strings(path.Text), path.Text, tx);

    private Task<byte[]> RequestAboutDomainAsync(XenStoreMessageType operation, int domid) =>
        RequestAsync(operation, XenStorePayload.Strings(domid.ToString()), $"domain {domid}", null);

    private async Task<byte[]> RequestAsync(
        XenStoreMessageType operation, byte[] payload, string subject, XenStoreTransaction? tx)
    {
        var connection = tx?.Connection ?? await ConnectedAsync().ConfigureAwait(false);
        var began = Stopwatch.GetTimestamp();
        var answer = await connection.RequestAsync(operation, tx?.Id ?? 0, payload, subject).ConfigureAwait(false);
        Answered?.Invoke(Stopwatch.GetElapsedTime(began));
        return answer;
    }

    private static async Task<byte[]?> UnlessAbsent(Task<byte[]> request)
    {
        try
        {
            return await request.ConfigureAwait(false);
        }
        catch (XenStoreErrorReplyException absent) when (absent.ErrorName == XenStoreErrorName.ENOENT)
        {
            return null;
        }
    }

    private static List<string> Split(byte[] payload, XenStorePath path) =>
        XenStorePayload.TrySplit(payload, out var strings) ? [.. strings]
            : throw new XenStoreProtocolException($"the answer about {path} ends in the middle of a string");

    private static string TextOf(ReadOnlySpan<byte> payload) =>
        XenStorePayload.TryTakeString(ref payload, out var text) ? text : "";
}
