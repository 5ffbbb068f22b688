using System.Buffers.Binary;

namespace XenPciBack.Lab.Fuzz;

/// <summary>
/// A seeded sequence of requests to one device: the same seed on the same device gives the same sequence. It keeps to the
/// registers that mean something most of the time, and to the values that registers react to.
/// </summary>
internal sealed class FuzzSequence
{
    private const uint Command = 0x04, CapabilityPointer = 0x34;
    private const int MsixCapability = 0x11;

    private static readonly uint[] Telling =
        [0, uint.MaxValue, 0xFFFF_FFFE, 0xFFFF_F800, 0xFFFF_FFF0, 0xFFFF_FFFC, 0x8000_0000, 0x0001_0000, 0x8000, 0x4000, 0x0400, 0x0100, 0x0040, 0x0006, 0x0003, 0x0001];

    private readonly Random _random;
    private readonly byte[] _config;
    private readonly bool _permissive;
    private readonly (uint Domain, uint Bus, uint DevFn) _device;
    private readonly List<int> _starts;
    private readonly List<FuzzOperation> _operations = [];

    private FuzzSequence(int seed, byte[] config, bool permissive, (uint, uint, uint) device)
    {
        (_random, _config, _permissive, _device) = (new Random(seed), config, permissive, device);
        _starts = [.. Capabilities().Select(capability => capability.Offset)];
    }

    /// <param name="config">The device's config space, 256 or 4096 bytes: where its capabilities are.</param>
    /// <param name="device">Its virtual address.</param>
    /// <returns><paramref name="count"/> requests, then a read of the whole config space.</returns>
    public static IReadOnlyList<FuzzOperation> Create(int seed, int count, byte[] config, bool permissive, (uint Domain, uint Bus, uint DevFn) device)
    {
        var sequence = new FuzzSequence(seed, config, permissive, device);
        while (sequence._operations.Count < count) sequence.Next();
        // Whatever is on goes off, so that the view at the end is one of the registers and not of interrupts.
        sequence.DisableMessages();
        for (var offset = 0; offset < config.Length; offset += 4) sequence.Add(FuzzOperation.Read, offset, 4, 0);
        return sequence._operations;
    }

    private void Next()
    {
        switch (_random.Next(100))
        {
            case < 42:
                Access(FuzzOperation.Read);
                break;
            case < 90:
                Access(FuzzOperation.Write);
                break;
            case < 94:
                Messages();
                break;
            case < 96:
                // As drivers do: decoding and bus mastering on.
                Add(FuzzOperation.Write, (int)Command, 2, 0x0007);
                break;
            default:
                Odd();
                break;
        }
    }

    private void Access(uint command)
    {
        var size = 1 << _random.Next(3);
        var offset = Offset() / size * size;
        Add(command, offset, size, command == FuzzOperation.Write ? Value(offset) : 0);
    }

    private int Offset() => _random.Next(10) switch
    {
        < 4 => _random.Next(0x40),
        < 8 when _starts.Count > 0 => Math.Min(_config.Length - 1, _starts[_random.Next(_starts.Count)] + _random.Next(0x18)),
        _ => _random.Next(_config.Length),
    };

    private uint Value(int offset)
    {
        var now = BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset & ~3)) >> (8 * (offset & 3));
        return _random.Next(5) switch
        {
            0 => now,
            1 => now ^ (1u << _random.Next(32)),
            2 => Telling[_random.Next(Telling.Length)],
            3 => (uint)_random.Next(0x10000),
            _ => (uint)_random.NextInt64(1L << 32),
        };
    }

    /// <summary>
    /// Enables of either kind, good and bad, closed by a disable of each kind: one disable alone would end MSI-X here and
    /// not in the kernel (src/DEVIATIONS.md), and everything after it would differ.
    /// </summary>
    private void Messages()
    {
        var table = Capabilities().FirstOrDefault(capability => capability.Id == MsixCapability) is { Offset: > 0 } msix
            ? (BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(msix.Offset + 2)) & 0x7FF) + 1 : 2;
        if (_random.Next(2) == 0) Add(FuzzOperation.Write, (int)Command, 2, 0x0006);
        for (var count = 1 + _random.Next(4); count > 0; count--)
        {
            if (_random.Next(3) == 0) Add(FuzzOperation.EnableMsi, 0, 0, 0);
            else EnableMsix(table);
            for (var accesses = _random.Next(4); accesses > 0; accesses--) Access(_random.Next(2) == 0 ? FuzzOperation.Read : FuzzOperation.Write);
        }
        DisableMessages();
    }

    private void EnableMsix(int table)
    {
        var vectors = _random.Next(8) switch { 0 => 0, 1 => table + 1, 2 => 128, 3 => 129, 4 => table, _ => 1 + _random.Next(Math.Min(table, 4)) };
        var entries = Enumerable.Range(0, Math.Min(vectors, 128)).Select(entry => (ushort)entry).ToArray();
        if (entries.Length > 0 && _random.Next(4) == 0) entries[_random.Next(entries.Length)] = (ushort)_random.Next(table + 2);
        _operations.Add(new FuzzOperation(FuzzOperation.EnableMsix, _device.Domain, _device.Bus, _device.DevFn, 0, 0, (uint)vectors, entries));
    }

    private void DisableMessages()
    {
        var first = _random.Next(2) == 0 ? FuzzOperation.DisableMsi : FuzzOperation.DisableMsix;
        Add(first, 0, 0, 0);
        Add(first == FuzzOperation.DisableMsi ? FuzzOperation.DisableMsix : FuzzOperation.DisableMsi, 0, 0, 0);
    }

    /// <summary>What no sane frontend sends.</summary>
    private void Odd()
    {
        var (domain, bus, devFn) = _device;
        switch (_random.Next(5))
        {
            case 0:
                _operations.Add(new FuzzOperation((uint)(6 + _random.Next(8)), domain, bus, devFn, Offset() & ~3, 4, Value(0)));
                break;
            case 1:
                _operations.Add(new FuzzOperation((uint)_random.Next(10), domain ^ (uint)_random.Next(2), bus ^ 0x80, devFn, 0, 4, 0));
                break;
            case 2:
                // A neighbour in the same slot or in another one: nobody is there.
                _operations.Add(new FuzzOperation((uint)_random.Next(2), domain, bus, devFn ^ (1u << _random.Next(12)), 0, 4, 0));
                break;
            case 3:
                Add((uint)_random.Next(2), Offset(), new[] { 0, 3, 8, -1, 2, 4, int.MinValue }[_random.Next(7)], Value(0));
                break;
            default:
                // Beyond the end; before the beginning only by a little and only to read, for the kernel's backend really goes there.
                var negative = _random.Next(2) == 0;
                Add(negative ? FuzzOperation.Read : (uint)_random.Next(2), negative ? -4 * (1 + _random.Next(4)) : 4096 + 4 * _random.Next(64), 4, _permissive ? 0 : Value(0));
                break;
        }
    }

    private void Add(uint command, int offset, int size, uint value) =>
        _operations.Add(new FuzzOperation(command, _device.Domain, _device.Bus, _device.DevFn, offset, size, value));

    private IEnumerable<(int Offset, int Id)> Capabilities()
    {
        var seen = new HashSet<int>();
        for (var at = _config[CapabilityPointer] & ~3; at >= 0x40 && seen.Add(at); at = _config[at + 1] & ~3) yield return (at, _config[at]);
        for (var at = 0x100; at >= 0x100 && at + 4 <= _config.Length && seen.Add(at);)
        {
            var header = BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(at));
            if (header is 0 or uint.MaxValue) yield break;
            // Never a capability id of the first kind: those end at 0xFF.
            yield return (at, 0x100 + (int)(header & 0xFFFF));
            at = (int)(header >> 20) & ~3;
        }
    }
}
