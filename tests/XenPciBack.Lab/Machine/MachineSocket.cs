using System.Net.Sockets;

namespace XenPciBack.Lab.Machine;

/// <summary>
/// A Unix socket QEMU connects a character device to. We listen, so there is no race with QEMU's start; QEMU connects
/// again a second after we close, so each user of a port gets a stream of its own.
/// </summary>
internal sealed class MachineSocket : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly string _path;

    public MachineSocket(string name, string folder)
    {
        Name = name;
        _path = Path.Combine(folder, name);
        _listener.Bind(new UnixDomainSocketEndPoint(_path));
        _listener.Listen();
    }

    public string Name { get; }

    /// <summary>The -chardev argument; its id is <see cref="Name"/>.</summary>
    public string CharacterDevice => $"socket,id={Name},path={_path},server=off,reconnect=1";

    public async Task<Stream> AcceptAsync(CancellationToken cancellation = default) =>
        new NetworkStream(await _listener.AcceptAsync(cancellation), ownsSocket: true);

    public void Dispose() => _listener.Dispose();
}
