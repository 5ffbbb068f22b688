using System.Text;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>
/// An instance of the kernel's tracing of our own, with the event <c>ras:aer_event</c> on: other readers (rasdaemon) and their
/// settings are not touched. It is found again by the next daemon, with what was traced in between.
/// </summary>
internal sealed class AerTrace : IDisposable
{
    private const string Event = "ras:aer_event";
    private static readonly string[] MountPoints = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

    private readonly SafeFileHandle _pipe;
    private readonly byte[] _buffer = new byte[16384];
    private readonly StringBuilder _line = new();

    private AerTrace(SafeFileHandle pipe) => _pipe = pipe;

    public int Descriptor => (int)_pipe.DangerousGetHandle();

    /// <param name="root">Where /sys is looked for.</param>
    /// <exception cref="IOException">Tracing cannot be had; the message says what is wrong.</exception>
    public static AerTrace Open(string root)
    {
        var tracing = MountPoints.Select(path => root + path).FirstOrDefault(path => Directory.Exists($"{path}/instances"))
            ?? throw new IOException("/sys/kernel/tracing is not mounted; run: mount -t tracefs tracefs /sys/kernel/tracing");
        if (!Directory.Exists($"{tracing}/events/ras/aer_event")) throw new IOException($"this kernel has no trace event {Event}");
        var instance = $"{tracing}/instances/xenpciback";
        try
        {
            Directory.CreateDirectory(instance);
            File.WriteAllText($"{instance}/set_event", Event);
            File.WriteAllText($"{instance}/tracing_on", "1");
            // Or a reader sleeps until half of the buffer is full. An older kernel has no such file and does not wait.
            if (File.Exists($"{instance}/buffer_percent")) File.WriteAllText($"{instance}/buffer_percent", "0");
            return new AerTrace(Interop.Libc.OpenNonBlocking($"{instance}/trace_pipe"));
        }
        catch (Exception e) when (e is UnauthorizedAccessException or HostCallException)
        {
            throw new IOException(e.Message, e);
        }
    }

    /// <summary>Gives every line that is there now.</summary>
    /// <exception cref="IOException">The pipe is broken, or has come to its end.</exception>
    public void Read(Action<string> onLine)
    {
        while (true)
        {
            var got = Interop.Libc.Read(_pipe, _buffer);
            if (got == -Errnos.EAGAIN) return;
            // Somebody has switched the instance off, and all is read.
            if (got == 0) throw new IOException("trace_pipe has ended: tracing was switched off");
            if (got < 0) throw new IOException($"trace_pipe cannot be read: {Errnos.Name(-got)}");
            foreach (var character in Encoding.ASCII.GetString(_buffer, 0, got))
            {
                if (character != '\n')
                {
                    _line.Append(character);
                    continue;
                }
                onLine(_line.ToString());
                _line.Clear();
            }
        }
    }

    public void Dispose() => _pipe.Dispose();
}
