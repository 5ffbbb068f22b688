using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.XenStored;

namespace XenPciBack.XenStore.Tests;

/// <summary>
/// A client and a directory of its own to work in: in the xenstored that XENSTORED_PATH names (the real C or OCaml
/// daemon in a dom0), or else in an embedded one.
/// </summary>
public sealed class ScratchStore : IAsyncLifetime
{
    private EmbeddedXenStored? _embedded;

    public XenStoreClient Client { get; private set; } = null!;

    public XenStorePath Root { get; } = new($"/xenpciback-test-{Random.Shared.Next():x8}");

    public XenStoreEndpoint Endpoint { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        if (Environment.GetEnvironmentVariable("XENSTORED_PATH") is { Length: > 0 })
            Endpoint = XenStoreEndpoint.Discover();
        else
        {
            _embedded = EmbeddedXenStored.Start(TemporarySocket.NewPath());
            Endpoint = _embedded.Endpoint;
        }
        Client = await XenStoreClient.ConnectAsync(Endpoint);
        await Client.MakeDirectoryAsync(Root);
    }

    public async ValueTask DisposeAsync()
    {
        await Client.RemoveAsync(Root);
        await Client.DisposeAsync();
        if (_embedded is not null)
            await _embedded.DisposeAsync();
    }
}

internal static class TemporarySocket
{
    public static string NewPath() => Path.Combine(Path.GetTempPath(), $"xenstored-{Guid.NewGuid():n}");
}
