using System.Net.Sockets;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>The other end of one client's socket, played by the test byte by byte.</summary>
internal sealed class ScriptedPeer : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly string _path = TemporarySocket.NewPath();
    private Socket _connection = null!;

    private ScriptedPeer()
    {
        _listener.Bind(new UnixDomainSocketEndPoint(_path));
        _listener.Listen();
    }

    public static async Task<(ScriptedPeer Peer, XenStoreClient Client)> ConnectAsync(XenStoreClientOptions options)
    {
        var peer = new ScriptedPeer();
        var accepted = peer._listener.AcceptAsync(TestContext.Current.CancellationToken);
        var client = await XenStoreClient.ConnectAsync(
            XenStoreEndpoint.Socket(peer._path), options, TestContext.Current.CancellationToken);
        peer._connection = await accepted;
        return (peer, client);
    }

    public async Task<(XenStoreHeader Header, byte[] Payload)> ReceiveAsync()
    {
        var header = new byte[XenStoreHeader.Size];
        await FillAsync(header);
        var payload = new byte[XenStoreHeader.Read(header).PayloadLength];
        await FillAsync(payload);
        return (XenStoreHeader.Read(header), payload);
    }

    public async Task SendAsync(params byte[] bytes) =>
        Assert.Equal(bytes.Length, await _connection.SendAsync(bytes, TestContext.Current.CancellationToken));

    public Task SendAsync(XenStoreMessageType type, uint requestId, string text) =>
        SendAsync(XenStoreFrame.Encode(type, requestId, 0, System.Text.Encoding.Latin1.GetBytes(text)));

    public void Dispose()
    {
        _connection?.Dispose();
        _listener.Dispose();
        File.Delete(_path);
    }

    private async Task FillAsync(Memory<byte> buffer)
    {
        while (!buffer.IsEmpty)
            buffer = buffer[await _connection.ReceiveAsync(buffer, TestContext.Current.CancellationToken).AsTask()
                .WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken)..];
    }
}
