using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace XenPciBack.Host.Linux;

/// <summary>
/// A right that one process of the host has at a time: the kernel's lock of a file (flock). The kernel lets it go when its process is
/// gone, however it ended, and not while one of its threads can still do anything. Disposing lets it go before.
/// </summary>
public sealed class HostLock : IDisposable
{
    private readonly SafeFileHandle _file;

    private HostLock(SafeFileHandle file) => _file = file;

    /// <returns>null if another process has it.</returns>
    /// <exception cref="IOException">The file cannot be made.</exception>
    public static HostLock? TryTake(string path)
    {
        var file = Open(path);
        if (Interop.Libc.TryLock(file)) return Taken(file);
        file.Dispose();
        return null;
    }

    /// <summary>Waits for it, on a thread of its own.</summary>
    /// <exception cref="IOException">The file cannot be made.</exception>
    public static async Task<HostLock> TakeAsync(string path, CancellationToken stop)
    {
        var file = Open(path);
        var waiting = Task.Factory.StartNew(() => Interop.Libc.Lock(file), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            await waiting.WaitAsync(stop).ConfigureAwait(false);
            return Taken(file);
        }
        catch
        {
            // Should it come all the same, it goes on to the next.
            _ = waiting.ContinueWith(_ => file.Dispose(), TaskScheduler.Default);
            throw;
        }
    }

    /// <summary>The process that has the lock, or had it last; null if none ever had.</summary>
    public static int? HolderOf(string path)
    {
        if (!File.Exists(path)) return null;
        using var file = Interop.Libc.OpenUnlocked(path);
        Span<byte> text = stackalloc byte[16];
        return int.TryParse(text[..RandomAccess.Read(file, text, 0)], NumberStyles.None, CultureInfo.InvariantCulture, out var process) ? process : null;
    }

    public void Dispose() => _file.Dispose();

    private static HostLock Taken(SafeFileHandle file)
    {
        RandomAccess.SetLength(file, 0);
        RandomAccess.Write(file, Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture)), 0);
        return new HostLock(file);
    }

    private static SafeFileHandle Open(string path)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            return Interop.Libc.OpenUnlocked(path);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or HostCallException)
        {
            throw new IOException(e.Message, e);
        }
    }
}
