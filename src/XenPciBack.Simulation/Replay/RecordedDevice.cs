using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Simulation.Replay;

/// <summary>
/// A device that answers as a recorded one did. Its registers have what was read from the recorded one at the same point, between
/// the same two writes; what is read more or less often does not matter, what is written has to be the same.
/// </summary>
public sealed class RecordedDevice
{
    private readonly Lock _lock = new();
    private readonly byte[] _registers;
    private ImmutableArray<DeviceAccess> _expected = [];
    private int _next;
    private string? _difference;

    // Registers whose recorded read failed, with the error.
    private readonly Dictionary<int, int> _failing = [];

    public RecordedDevice(DeviceDescription description) => (Description, _registers) = (description, [.. description.Config]);

    public DeviceDescription Description { get; }

    /// <summary>What the recorded device saw during the request that comes next.</summary>
    public void Expect(ImmutableArray<DeviceAccess> accesses)
    {
        lock (_lock)
        {
            (_expected, _next, _difference) = (accesses, 0, null);
            TakeReads();
        }
    }

    /// <returns>null if the request did to the device what the recorded one did, else the first thing that was not so.</returns>
    public string? TakeDifference()
    {
        lock (_lock)
        {
            var missing = _next < _expected.Length ? $"the device saw no {Describe(_expected[_next])}" : null;
            var difference = _difference ?? missing;
            (_expected, _next, _difference) = ([], 0, null);
            return difference;
        }
    }

    internal IPciFunction Open(Action onClose) => new Function(this, onClose);

    internal IPirqs OpenPirqs() => new Pirqs(this);

    // Values that were read before the next thing was done stand in the registers until then.
    private void TakeReads()
    {
        _failing.Clear();
        for (; _next < _expected.Length && _expected[_next] is { Kind: DeviceAccessKind.Read } read; _next++)
        {
            if (read.Error == 0) Store(read.Offset, read.Size, read.Value);
            else _failing[read.Offset] = read.Error;
        }
    }

    private DeviceAccess? Match(DeviceAccess done)
    {
        var expected = _next < _expected.Length ? _expected[_next] : null;
        if (expected is null || (expected.Kind, expected.Offset, expected.Size) != (done.Kind, done.Offset, done.Size)
            || (done.Kind == DeviceAccessKind.Write && expected.Value != done.Value))
        {
            _difference ??= expected is null ? $"the device saw one more {Describe(done)}" : $"the device saw {Describe(done)}; recorded was {Describe(expected)}";
            return null;
        }
        _next++;
        TakeReads();
        return expected;
    }

    private void Store(int offset, int size, uint value)
    {
        for (var i = 0; i < size && offset + i < _registers.Length; i++) _registers[offset + i] = (byte)(value >> (8 * i));
    }

    private uint Load(int offset, int size)
    {
        uint value = 0;
        for (var i = 0; i < size; i++) value |= (uint)(offset + i < _registers.Length ? _registers[offset + i] : 0xFF) << (8 * i);
        return value;
    }

    private static string Describe(DeviceAccess access) => access.Kind switch
    {
        DeviceAccessKind.Write => $"write of {access.Value:x} to {access.Offset:x3}/{access.Size}",
        DeviceAccessKind.MapMsi => "mapping of its MSI message",
        DeviceAccessKind.MapMsix => $"mapping of its MSI-X entry {access.Offset}",
        _ => $"read of {access.Offset:x3}/{access.Size}",
    };

    private sealed class Function(RecordedDevice device, Action onClose) : IPciFunction
    {
        public PciFunctionFacts Facts => device.Description.Facts;
        public bool DecodesMemory => Facts.IsVirtualFunction || (device.Load(0x04, 2) & 0x2) != 0;
        public int Irq => device.Description.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            lock (device._lock)
            {
                value = device.Load(offset, size);
                return (PciOpError)device._failing.GetValueOrDefault(offset);
            }
        }

        public PciOpError Write(int offset, int size, uint value)
        {
            lock (device._lock)
            {
                // Before the first request and after the last one nothing is recorded.
                if (!device._expected.IsEmpty) return (PciOpError)(device.Match(new DeviceAccess(DeviceAccessKind.Write, offset, size, value, 0))?.Error ?? 0);
                device.Store(offset, size, value);
                return PciOpError.Success;
            }
        }

        public ImmutableArray<byte> ReadAll()
        {
            lock (device._lock) return [.. device._registers];
        }

        public string? TryReset() => null;

        public void Dispose() => onClose();
    }

    private sealed class Pirqs(RecordedDevice device) : IPirqs
    {
        public int MapMsi(out Pirq pirq) => Map(new DeviceAccess(DeviceAccessKind.MapMsi, 0, 0, 0, 0), out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq) => Map(new DeviceAccess(DeviceAccessKind.MapMsix, entry, 0, 0, 0), out pirq);

        public int Restore() => 0;

        public int Unmap(Pirq pirq) => 0;

        private int Map(DeviceAccess asked, out Pirq pirq)
        {
            lock (device._lock)
            {
                var recorded = device.Match(asked);
                pirq = new Pirq((int)(recorded?.Value ?? 0));
                return recorded?.Error ?? Errnos.EINVAL;
            }
        }
    }
}
