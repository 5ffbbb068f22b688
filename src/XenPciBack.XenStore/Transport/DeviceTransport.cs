using System.Threading.Channels;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore.Interop;

namespace XenPciBack.XenStore.Transport;

/// <summary>
/// /dev/xen/xenbus, Linux's door to a xenstored that has no socket here. The kernel offers neither epoll-driven
/// readiness to .NET nor asynchronous reads, so one thread of our own waits in poll and hands chunks over; the channel
/// between holds a few chunks at most, and the kernel keeps the rest.
/// </summary>
internal sealed class DeviceTransport : XenStoreTransport
{
    private readonly SafeFileHandle _device;
    private readonly SafeFileHandle _stop;
    private readonly Channel<byte[]> _received = Channel.CreateBounded<byte[]>(
        new BoundedChannelOptions(4) { SingleReader = true, SingleWriter = true });
    private readonly Thread _reader;
    private ReadOnlyMemory<byte> _rest;

    private DeviceTransport(SafeFileHandle device)
    {
        _device = device;
        _stop = Libc.CreateEventFd();
        _reader = new Thread(ReadUntilStopped) { IsBackground = true, Name = "xenbus device reader" };
        _reader.Start();
    }

    public override int SentPayloadLimit => XenStoreLimits.SentPayloadThroughDevice;

    // The kernel keeps one buffer per open file and may still be sending from it after write has returned (seen on
    // Linux 6.1: request 2 went out with the payload of request 3). Only a reply says that the buffer is free.
    public override int RequestsInFlightLimit => 1;

    public static Task<XenStoreTransport> OpenAsync(string path) =>
        Task.FromResult<XenStoreTransport>(new DeviceTransport(Libc.OpenDevice(path)));

    public override async ValueTask<int> ReceiveAsync(Memory<byte> buffer, CancellationToken ct)
    {
        while (_rest.IsEmpty)
        {
            if (!await _received.Reader.WaitToReadAsync(ct).ConfigureAwait(false))
                return 0;
            if (_received.Reader.TryRead(out var chunk))
                _rest = chunk;
        }
        var count = Math.Min(_rest.Length, buffer.Length);
        _rest[..count].CopyTo(buffer);
        _rest = _rest[count..];
        return count;
    }

    public override async ValueTask<string?> SendAsync(ReadOnlyMemory<byte> message, CancellationToken ct) =>
        // The write of a WATCH returns only when xenstored has answered the kernel: not on the caller's thread.
        await Task.Run(() => Send(message.Span), ct).ConfigureAwait(false);

    public override ValueTask DisposeAsync()
    {
        // The reader closes both descriptors: closing one under a thread that polls it would let its number be reused.
        _received.Writer.TryComplete();
        Libc.Write(_stop, BitConverter.GetBytes(1UL));
        return ValueTask.CompletedTask;
    }

    /// <summary>
    /// The kernel answers a message it refuses (a WATCH that fails, a message it finds malformed) with the errno of the
    /// write that completed it, drops what it had of it, and sends no reply.
    /// </summary>
    private string? Send(ReadOnlySpan<byte> message)
    {
        while (!message.IsEmpty)
        {
            var count = Libc.Write(_device, message);
            if (count >= 0)
                message = message[count..];
            else if (count != -Libc.EINTR)
                return Libc.ErrorName(-count);
        }
        return null;
    }

    private void ReadUntilStopped()
    {
        Exception? lost = null;
        try
        {
            var buffer = new byte[XenStoreHeader.Size + XenStoreLimits.SentPayload];
            while (Libc.WaitReadable(_device, _stop))
            {
                var count = Libc.Read(_device, buffer);
                if (count == -Libc.EINTR)
                    continue;
                if (count < 0)
                    throw Libc.Error("read", -count);
                if (count == 0)
                    break;
                _received.Writer.WriteAsync(buffer[..count]).AsTask().GetAwaiter().GetResult();
            }
        }
        catch (IOException failure)
        {
            lost = failure;
        }
        catch (ChannelClosedException)
        {
            // Disposed while a chunk waited for a receiver that will not come.
        }
        _received.Writer.TryComplete(lost);
        _device.Dispose();
        _stop.Dispose();
    }
}
