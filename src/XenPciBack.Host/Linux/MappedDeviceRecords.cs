using System.Collections.Concurrent;
using System.IO.MemoryMappedFiles;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Records;

namespace XenPciBack.Host.Linux;

/// <summary>
/// A directory of small files that are mapped into memory, below /run, which is emptied when the domains end too: at the host's boot.
/// One file for each guest and function, <c>DOMID-SSSS:BB:DD.F</c>. What is stored is the kernel's at once: a process that is killed
/// loses nothing of it, and storing takes no system call.
/// </summary>
internal sealed class MappedDeviceRecords(string directory) : IDeviceRecords
{
    private readonly ConcurrentDictionary<(DomainId, HostBdf), bool> _open = new();

    public IReadOnlyList<(DomainId Guest, HostBdf Function)> Unopened =>
        [.. All.Where(record => !_open.ContainsKey(record))];

    public IReadOnlyList<(DomainId Guest, HostBdf Function)> All
    {
        get
        {
            var found = new List<(DomainId, HostBdf)>();
            if (!Directory.Exists(directory)) return found;
            foreach (var path in Directory.EnumerateFiles(directory))
                if (Path.GetFileName(path).Split('-') is [var domain, var bdf]
                    && DomainId.TryParse(domain, out var guest) && HostBdf.TryParse(bdf, out var function))
                    found.Add((guest, function));
            return found;
        }
    }

    public DeviceRecord Open(DomainId guest, HostBdf function)
    {
        var path = PathOf(guest, function);
        if (!_open.TryAdd((guest, function), true)) throw new IOException($"{path}: its record is in use");
        try
        {
            return new DeviceRecord(new MappedFile(path, onClose: () => _open.TryRemove((guest, function), out _)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _open.TryRemove((guest, function), out _);
            throw new IOException($"{path}: the record of a guest's device cannot be kept: {e.Message}", e);
        }
    }

    public void Remove(DomainId guest, HostBdf function)
    {
        if (!Directory.Exists(directory)) return;
        try
        {
            File.Delete(PathOf(guest, function));
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    private string PathOf(DomainId guest, HostBdf function) => $"{directory}/{guest}-{function}";

    private sealed class MappedFile : IRecordMemory
    {
        private readonly MemoryMappedFile _file;
        private readonly MemoryMappedViewAccessor _view;
        private readonly Action _onClose;
        private int _disposed;

        public MappedFile(string path, Action onClose)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            // All of it is there before it is used: a store to a page for which there is no memory would end the process.
            var isNew = !File.Exists(path) || new FileInfo(path).Length < DeviceRecord.Size;
            var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            try
            {
                if (isNew) file.Write(new byte[DeviceRecord.Size]);
                _file = MemoryMappedFile.CreateFromFile(file, null, DeviceRecord.Size, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: false);
                _view = _file.CreateViewAccessor(0, DeviceRecord.Size);
            }
            catch
            {
                _file?.Dispose();
                file.Dispose();
                throw;
            }
            _onClose = onClose;
        }

        public unsafe Span<byte> Bytes
        {
            get
            {
                ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
                return new Span<byte>((void*)_view.SafeMemoryMappedViewHandle.DangerousGetHandle(), DeviceRecord.Size);
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
            _view.Dispose();
            _file.Dispose();
            _onClose();
        }
    }
}
