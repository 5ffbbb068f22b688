using System.Net;
using System.Net.Sockets;

namespace XenPciBack.Fleet.Tests;

/// <summary>Hands connections on to a node, and counts those that have ended.</summary>
internal sealed class Relay : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private int _ended;

    public Relay(DnsEndPoint node)
    {
        _listener.Start();
        _ = AcceptAsync(node);
    }

    public DnsEndPoint At => new(IPAddress.Loopback.ToString(), ((IPEndPoint)_listener.LocalEndpoint).Port);

    public int Ended => Volatile.Read(ref _ended);

    public void Dispose() => _listener.Dispose();

    private async Task AcceptAsync(DnsEndPoint node)
    {
        while (true)
        {
            var peer = await _listener.AcceptTcpClientAsync();
            _ = HandOnAsync(peer, node);
        }
    }

    private async Task HandOnAsync(TcpClient peer, DnsEndPoint node)
    {
        using (peer)
        {
            using var own = new TcpClient();
            await own.ConnectAsync(node.Host, node.Port);
            var (from, to) = (peer.GetStream(), own.GetStream());
            await Task.WhenAny(from.CopyToAsync(to), to.CopyToAsync(from));
        }
        Interlocked.Increment(ref _ended);
    }
}
