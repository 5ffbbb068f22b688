using System.Collections.Immutable;
using System.Runtime.InteropServices;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Protocol.Records;

/// <summary>
/// What has to be known of a function that a guest has and that neither xenstore nor the function itself can tell: what the guest
/// sees that the hardware does not have, the PIRQs mapped for it, and the registers to give back. A daemon stores each thing where
/// the next one finds it, at the moment it becomes true, so that it can be killed at any moment.
/// </summary>
/// <remarks>
/// Layout, little-endian: 0 u32 <see cref="Kind"/> once everything stands below, 4 u32 number of saved registers, 8 u16 the command
/// register as the guest sees it, 10 u8 decoding is on, 11 u8 bus mastering is on, 12 u8 BARs that show their size (bit N: BAR N, bit 6:
/// ROM), 13 u8 severity of an error the guest has not got over, plus 1, 16 u32 number of PIRQs, 20 that many u32, 1044 the registers: u16
/// offset, u16 size, u32 value. A daemon that needs another layout gives it another kind, and reads those before it.
/// </remarks>
public sealed class DeviceRecord : IDisposable
{
    /// <summary>Bytes of a record.</summary>
    public const int Size = 16384;

    /// <summary>PIRQs that can be on record: twice what a guest can ask for, for those that could not be unmapped.</summary>
    public const int MostPirqs = 256;

    // "XPB1", little-endian.
    private const uint Kind = 0x3142_5058;

    private const int Complete = 0, SavedCount = 4, Command = 8, Decoding = 10, BusMaster = 11, BarsShowingSize = 12, Unsettled = 13, PirqCount = 16, FirstPirq = 20;
    private const int FirstSaved = FirstPirq + 4 * MostPirqs, SavedSize = 8, MostSaved = (Size - FirstSaved) / SavedSize;

    private readonly IRecordMemory _memory;

    public DeviceRecord(IRecordMemory memory)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(memory.Bytes.Length, Size);
        _memory = memory;
    }

    /// <summary>A record for a guest that nobody will take up.</summary>
    public DeviceRecord() : this(new UnkeptMemory()) { }

    /// <summary>What stands here was true when it was stored; false: there is nothing, but for PIRQs that are still mapped.</summary>
    public bool IsComplete
    {
        get => Volatile.Read(ref Word(Complete)) == Kind;
        private set => Volatile.Write(ref Word(Complete), value ? Kind : 0);
    }

    /// <summary>Whether neither a function nor a PIRQ depends on it.</summary>
    public bool IsEmpty => !IsComplete && Word(PirqCount) == 0;

    /// <summary>What the guest sees that the device does not have.</summary>
    public Shadow Shadow
    {
        get => new(Half(Command), Byte(Decoding) != 0, Byte(BusMaster) != 0, Byte(BarsShowingSize));
        set
        {
            Volatile.Write(ref Half(Command), value.Command);
            Volatile.Write(ref Byte(Decoding), value.IsDecoding ? (byte)1 : (byte)0);
            Volatile.Write(ref Byte(BusMaster), value.IsBusMaster ? (byte)1 : (byte)0);
            Volatile.Write(ref Byte(BarsShowingSize), value.BarsShowingSize);
        }
    }

    /// <summary>An error of the function that the guest was being helped over; null: none.</summary>
    public AerSeverity? UnsettledError
    {
        get => Byte(Unsettled) is 0 ? null : (AerSeverity)(Byte(Unsettled) - 1);
        set => Volatile.Write(ref Byte(Unsettled), value is { } severity ? (byte)(severity + 1) : (byte)0);
    }

    /// <summary>The registers as they were before the guest had the function, in the order in which they were saved.</summary>
    public ImmutableArray<(int Offset, int Size, uint Value)> Saved
    {
        get
        {
            var saved = ImmutableArray.CreateBuilder<(int, int, uint)>();
            for (var i = 0; i < Math.Min(Word(SavedCount), MostSaved); i++)
            {
                var at = FirstSaved + i * SavedSize;
                saved.Add((Half(at), Half(at + 2), Word(at + 4)));
            }
            return saved.ToImmutable();
        }
    }

    /// <summary>What is mapped, in the order of mapping.</summary>
    public ImmutableArray<Pirq> Mapped
    {
        get
        {
            var mapped = ImmutableArray.CreateBuilder<Pirq>();
            for (var i = 0; i < Math.Min(Word(PirqCount), MostPirqs); i++) mapped.Add(new Pirq((int)Word(FirstPirq + 4 * i)));
            return mapped.ToImmutable();
        }
    }

    /// <summary>Nothing of what stands here counts any more, but for PIRQs that are still mapped.</summary>
    public void Clear()
    {
        IsComplete = false;
        _memory.Bytes[SavedCount..PirqCount].Clear();
    }

    public void Save(int offset, int size, uint value)
    {
        ref var count = ref Word(SavedCount);
        if (count >= MostSaved) throw new InvalidOperationException($"a record holds {MostSaved} registers, and {count} are saved already");
        var at = FirstSaved + (int)count * SavedSize;
        (Half(at), Half(at + 2), Word(at + 4)) = ((ushort)offset, (ushort)size, value);
        count++;
    }

    /// <summary>Everything is saved: from now on the next daemon goes by what stands here.</summary>
    public void Finish() => IsComplete = true;

    /// <returns>false if there is no room.</returns>
    public bool TryAdd(Pirq pirq)
    {
        ref var count = ref Word(PirqCount);
        if (count >= MostPirqs) return false;
        Word(FirstPirq + 4 * (int)count) = (uint)pirq.Value;
        Volatile.Write(ref count, count + 1);
        return true;
    }

    /// <param name="left">Some of <see cref="Mapped"/>, in its order: whenever this is cut short, none of them is missing.</param>
    public void Keep(ImmutableArray<Pirq> left)
    {
        for (var i = 0; i < left.Length; i++) Word(FirstPirq + 4 * i) = (uint)left[i].Value;
        Volatile.Write(ref Word(PirqCount), (uint)left.Length);
    }

    /// <summary>Unmaps what is mapped.</summary>
    /// <returns>0, or the errno of the first one that stays mapped, and on record.</returns>
    public int UnmapAll(IPirqs pirqs)
    {
        var result = 0;
        var left = ImmutableArray.CreateBuilder<Pirq>();
        foreach (var pirq in Mapped)
        {
            var errno = pirqs.Unmap(pirq);
            if (errno == 0) continue;
            left.Add(pirq);
            if (result == 0) result = errno;
        }
        Keep(left.ToImmutable());
        return result;
    }

    public void Dispose() => _memory.Dispose();

    private ref uint Word(int offset) => ref MemoryMarshal.AsRef<uint>(_memory.Bytes[offset..]);

    private ref ushort Half(int offset) => ref MemoryMarshal.AsRef<ushort>(_memory.Bytes[offset..]);

    private ref byte Byte(int offset) => ref _memory.Bytes[offset];

    private sealed class UnkeptMemory : IRecordMemory
    {
        private readonly byte[] _bytes = new byte[Size];

        public Span<byte> Bytes => _bytes;

        public void Dispose() { }
    }
}
