using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.XenStored;
using XenPciBack.XenStore.Interop;

namespace XenPciBack.XenStore.Tests;

/// <summary>
/// The client through a character device. A pseudo-terminal in raw mode, wired to the embedded xenstored, stands in for
/// /dev/xen/xenbus: a byte stream that may cut messages anywhere. What only the kernel does (a refused WATCH) is left
/// to the runs with XENSTORED_PATH=/dev/xen/xenbus in a real dom0.
/// </summary>
public sealed partial class DeviceTests : IAsyncLifetime
{
    private static readonly XenStorePath Node = new("/node");
    private readonly EmbeddedXenStored _xenstored = EmbeddedXenStored.Start(TemporarySocket.NewPath());
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private SafeFileHandle _master = null!, _terminal = null!;
    private string _path = "";
    private int _inFlight, _mostInFlight;

    public async ValueTask InitializeAsync()
    {
        (_master, _terminal, _path) = OpenRawTerminal();
        await _socket.ConnectAsync(new UnixDomainSocketEndPoint(_xenstored.SocketPath));
        new Thread(() => Pump(buffer => Libc.Read(_master, buffer), bytes => _socket.Send(bytes), _ => RequestPasses())) { IsBackground = true }.Start();
        new Thread(() => Pump(buffer => _socket.Receive(buffer), bytes => Libc.Write(_master, bytes), ReplyPasses)) { IsBackground = true }.Start();
    }

    public async ValueTask DisposeAsync()
    {
        _terminal.Dispose();
        _socket.Dispose();
        await _xenstored.DisposeAsync();
    }

    [Fact]
    public async Task Reads_writes_watches_and_transactions_work_through_a_device()
    {
        await using var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Device(_path), TestContext.Current.CancellationToken);
        await using var probe = await WatchProbe.StartAsync(client, Node);
        await client.TransactAsync(tx => client.WriteAsync(Node, "1", tx));
        await probe.NotifiedAsync(2);
        var long4000 = new string('x', 4000);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(i => client.WriteAsync(Node / i, long4000)));
        Assert.Equal(Enumerable.Repeat(long4000, 50), await Task.WhenAll(Enumerable.Range(0, 50).Select(i => client.ReadAsync(Node / i))));
    }

    [Fact]
    public async Task A_request_waits_for_the_reply_to_the_one_before()
    {
        await using var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Device(_path), TestContext.Current.CancellationToken);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(i => client.WriteAsync(Node / i, "")));
        Assert.Equal(1, Volatile.Read(ref _mostInFlight));
    }

    [Fact]
    public async Task A_message_carries_less_because_the_header_counts()
    {
        await using var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Device(_path), TestContext.Current.CancellationToken);
        var room = XenStoreLimits.SentPayloadThroughDevice - "/node\0".Length;
        await client.WriteAsync(Node, new string('x', room));
        await Assert.ThrowsAsync<ArgumentException>(() => client.WriteAsync(Node, new string('x', room + 1)));
    }

    [Fact]
    public async Task Disposal_ends_a_reader_that_waits()
    {
        var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Device(_path), TestContext.Current.CancellationToken);
        await client.WriteAsync(Node, "1");
        await client.DisposeAsync().AsTask().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
    }

    private delegate int Receive(Span<byte> buffer);

    private delegate int Send(ReadOnlySpan<byte> bytes);

    private void RequestPasses() => _mostInFlight = Math.Max(_mostInFlight, Interlocked.Increment(ref _inFlight));

    private void ReplyPasses(XenStoreHeader header)
    {
        if (header.Type != XenStoreMessageType.WatchEvent)
            Interlocked.Decrement(ref _inFlight);
    }

    private static void Pump(Receive receive, Send send, Action<XenStoreHeader> passes)
    {
        var buffer = new byte[1000]; // cuts long messages
        var started = new List<byte>();
        try
        {
            while (receive(buffer) is > 0 and var count)
            {
                started.AddRange(buffer.AsSpan(0, count));
                while (XenStoreFrame.Decode(started.ToArray(), XenStoreLimits.AcceptedPayload) is { Status: XenStoreFrameStatus.Message } frame)
                {
                    passes(frame.Header);
                    started.RemoveRange(0, frame.FrameLength);
                }
                for (var sent = 0; sent < count;)
                    sent += send(buffer.AsSpan(sent, count - sent)) is > 0 and var more ? more : throw new IOException("closed");
            }
        }
        catch (Exception closed) when (closed is IOException or SocketException or ObjectDisposedException)
        {
        }
    }

    /// <summary>The master, a handle that keeps the terminal open, and the terminal's path.</summary>
    private static unsafe (SafeFileHandle Master, SafeFileHandle Terminal, string Path) OpenRawTerminal()
    {
        const int O_RDWR = 2, O_NOCTTY = 0x100, TCSANOW = 0;
        var master = posix_openpt(O_RDWR | O_NOCTTY);
        Assert.True(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        Span<byte> name = stackalloc byte[64];
        Assert.Equal(0, ptsname_r(master, ref name[0], (nuint)name.Length));
        var path = Encoding.ASCII.GetString(name[..name.IndexOf((byte)0)]);
        var terminal = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        Span<byte> settings = stackalloc byte[256]; // struct termios takes 60 bytes
        var fd = (int)terminal.DangerousGetHandle();
        Assert.Equal(0, tcgetattr(fd, ref settings[0]));
        cfmakeraw(ref settings[0]);
        Assert.Equal(0, tcsetattr(fd, TCSANOW, ref settings[0]));
        return (new SafeFileHandle(master, ownsHandle: true), terminal, path);
    }

    [LibraryImport("libc")]
    private static partial int posix_openpt(int flags);

    [LibraryImport("libc")]
    private static partial int grantpt(int fd);

    [LibraryImport("libc")]
    private static partial int unlockpt(int fd);

    [LibraryImport("libc")]
    private static partial int ptsname_r(int fd, ref byte name, nuint length);

    [LibraryImport("libc")]
    private static partial int tcgetattr(int fd, ref byte settings);

    [LibraryImport("libc")]
    private static partial int tcsetattr(int fd, int when, ref byte settings);

    [LibraryImport("libc")]
    private static partial void cfmakeraw(ref byte settings);
}
