using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace XenPciBack.Daemon.Control;

/// <summary>The command line's side of the control socket.</summary>
internal static class ControlClient
{
    /// <summary>Sends one request and gives the lines of the answer, until the daemon has said all.</summary>
    /// <param name="path">The daemon's socket.</param>
    /// <exception cref="DaemonUnreachableException">Nobody listens there, or this user may not connect.</exception>
    public static async IAsyncEnumerable<(string Line, ControlAnswer Answer)> AskAsync(string path, ControlRequest request, [EnumeratorCancellation] CancellationToken stop)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), stop);
        }
        catch (SocketException e)
        {
            throw new DaemonUnreachableException($"no daemon answers at {path}: {e.Message}");
        }
        await using var stream = new NetworkStream(socket);
        await stream.WriteAsync(ControlJson.Line(request), stop);
        using var lines = new StreamReader(stream);
        while (await lines.ReadLineAsync(stop) is { } line) yield return (line, JsonSerializer.Deserialize<ControlAnswer>(line, ControlJson.Options)!);
    }
}

/// <summary>The command needs a running daemon, and there is none.</summary>
internal sealed class DaemonUnreachableException(string message) : Exception(message);
