using System.Buffers.Binary;

namespace XenPciBack.Simulation.Pci;

/// <summary>
/// The registers of one function as hardware has them: a value per byte, the bits software can change, the bits a 1 clears,
/// and rules for the few registers that are more than bits. Not thread-safe.
/// </summary>
internal sealed class ConfigRegisters(int size)
{
    private readonly byte[] _values = new byte[size];
    private readonly byte[] _writable = new byte[size];
    private readonly byte[] _clearedByOne = new byte[size];
    private readonly List<RegisterRule> _rules = [];

    public int Size => _values.Length;

    /// <summary>Puts a register there: its value after power-on, what can be written, what is cleared by writing 1.</summary>
    public void Define(int offset, int width, uint value, uint writable = 0, uint clearedByOne = 0)
    {
        Store(_values, offset, width, value);
        Store(_writable, offset, width, writable);
        Store(_clearedByOne, offset, width, clearedByOne);
    }

    /// <summary>Adds the behaviour of a register whose new value depends on more than its own bits.</summary>
    public void AddRule(RegisterRule rule) => _rules.Add(rule);

    public uint Read(int offset, int width) => Load(_values, offset, width);

    /// <summary>A write from the bus.</summary>
    public void Write(int offset, int width, uint value)
    {
        var overlapping = _rules.Where(r => r.Offset < offset + width && r.Offset + r.Width > offset).Select(r => (Rule: r, Before: Read(r.Offset, r.Width))).ToArray();
        for (var i = 0; i < width; i++)
        {
            var (at, written) = (offset + i, (byte)(value >> (8 * i)));
            _values[at] = (byte)(((_values[at] & ~_writable[at]) | (written & _writable[at])) & ~(written & _clearedByOne[at]));
        }
        foreach (var (rule, before) in overlapping)
            Store(_values, rule.Offset, rule.Width, rule.Settle(before, Read(rule.Offset, rule.Width)));
    }

    /// <summary>Sets bits from inside the device, whatever software may write.</summary>
    public void Force(int offset, int width, uint value) => Store(_values, offset, width, value);

    public byte[] Snapshot() => [.. _values];

    public void Restore(ReadOnlySpan<byte> snapshot) => snapshot.CopyTo(_values);

    private static uint Load(byte[] bytes, int offset, int width) => width switch
    {
        1 => bytes[offset],
        2 => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(offset)),
        4 => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(offset)),
        _ => throw new ArgumentOutOfRangeException(nameof(width), width, "a register access is 1, 2 or 4 bytes wide"),
    };

    private static void Store(byte[] bytes, int offset, int width, uint value)
    {
        for (var i = 0; i < width; i++) bytes[offset + i] = (byte)(value >> (8 * i));
    }
}

/// <summary>What a register makes of a write: given its value before and the value the bits alone would give, the value it takes.</summary>
internal sealed record RegisterRule(int Offset, int Width, Func<uint, uint, uint> Settle);
