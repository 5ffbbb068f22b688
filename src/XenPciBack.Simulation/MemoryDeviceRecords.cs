using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Records;

namespace XenPciBack.Simulation;

/// <summary>The host's memory of guests' devices: what one daemon has stored the next one finds, however the first one ended.</summary>
public sealed class MemoryDeviceRecords
{
    private readonly ConcurrentDictionary<(DomainId Guest, HostBdf Function), byte[]> _records = new();

    public int Count => _records.Count;

    /// <summary>What one daemon's process has mapped of it, until it is killed.</summary>
    public IDeviceRecords OfOneDaemon(CancellationToken killed) => new Process(_records, killed);

    private sealed class Process(ConcurrentDictionary<(DomainId Guest, HostBdf Function), byte[]> records, CancellationToken killed) : IDeviceRecords
    {
        private readonly ConcurrentDictionary<(DomainId, HostBdf), bool> _open = new();

        public IReadOnlyList<(DomainId Guest, HostBdf Function)> All => [.. records.Keys];

        public IReadOnlyList<(DomainId Guest, HostBdf Function)> Unopened => [.. records.Keys.Where(key => !_open.ContainsKey(key))];

        public DeviceRecord Open(DomainId guest, HostBdf function)
        {
            if (!_open.TryAdd((guest, function), true)) throw new IOException($"the record of {function} for guest {guest} is in use");
            return new DeviceRecord(new Memory(records.GetOrAdd((guest, function), _ => new byte[DeviceRecord.Size]), onClose: () => _open.TryRemove((guest, function), out _), killed));
        }

        public void Remove(DomainId guest, HostBdf function) => records.TryRemove((guest, function), out _);
    }

    private sealed class Memory(byte[] bytes, Action onClose, CancellationToken killed) : IRecordMemory
    {
        private int _disposed;

        public Span<byte> Bytes
        {
            get
            {
                ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
                return killed.IsCancellationRequested ? throw new ProcessKilledException() : bytes;
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0) onClose();
        }
    }
}
