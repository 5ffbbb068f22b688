using System.Net.Sockets;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Transport;

/// <summary>xenstored's Unix stream socket.</summary>
internal sealed class SocketTransport : XenStoreTransport
{
    private readonly Socket _socket;

    private SocketTransport(Socket socket) => _socket = socket;

    public override int SentPayloadLimit => XenStoreLimits.SentPayload;

    public static async Task<XenStoreTransport> ConnectAsync(string path, CancellationToken ct)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), ct).ConfigureAwait(false);
            return new SocketTransport(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public override async ValueTask<int> ReceiveAsync(Memory<byte> buffer, CancellationToken ct)
    {
        try
        {
            return await _socket.ReceiveAsync(buffer, ct).ConfigureAwait(false);
        }
        catch (SocketException lost)
        {
            throw new IOException(lost.Message, lost);
        }
    }

    public override async ValueTask<string?> SendAsync(ReadOnlyMemory<byte> message, CancellationToken ct)
    {
        try
        {
            while (!message.IsEmpty)
                message = message[await _socket.SendAsync(message, ct).ConfigureAwait(false)..];
            return null;
        }
        catch (SocketException lost)
        {
            throw new IOException(lost.Message, lost);
        }
    }

    public override ValueTask DisposeAsync()
    {
        _socket.Dispose();
        return ValueTask.CompletedTask;
    }
}
