using System.Buffers.Binary;
using System.Collections.Immutable;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Tests.ConfigSpace;

/// <summary>A function whose registers all hold what is written, so that every write that reaches the hardware shows.</summary>
internal sealed class RegisterFile : IPciFunction
{
    private readonly byte[] _bytes = new byte[4096];

    /// <summary>Every write that reached the hardware: offset, size, value.</summary>
    public List<(int Offset, int Size, uint Value)> Writes { get; } = [];

    /// <summary>Registers that answer every access with this error.</summary>
    public Dictionary<int, PciOpError> Failing { get; } = [];

    /// <summary>Registers that keep their value whatever is written.</summary>
    public HashSet<int> ReadOnly { get; } = [];

    public HostBdf Bdf { get; } = HostBdf.Parse("0000:03:00.0");
    public ushort VendorId { get; init; } = 0x8086;
    public ushort DeviceId { get; init; } = 0x10D3;
    public PciFunctionFacts Facts => new(Bdf, VendorId, DeviceId, ConfigSize: 4096, IsVirtualFunction: false, Bridges: [], Resources, LineSharers, CacheLineSize);
    public bool DecodesMemory => (Peek(0x04, 2) & 0x2) != 0;
    public ImmutableArray<PciResource> Resources { get; init; } = [.. new PciResource[7]];
    public int Irq { get; set; } = 0x1A;
    public ImmutableArray<string> LineSharers { get; init; } = [];
    public byte CacheLineSize { get; init; } = 16;
    public bool CanReset { get; init; } = true;

    public PciOpError Read(int offset, int size, out uint value)
    {
        value = Peek(offset, size);
        return Failing.GetValueOrDefault(offset);
    }

    public PciOpError Write(int offset, int size, uint value)
    {
        if (Failing.TryGetValue(offset, out var error)) return error;
        Writes.Add((offset, size, value));
        if (!ReadOnly.Contains(offset)) Poke(offset, size, value);
        return PciOpError.Success;
    }

    public ImmutableArray<byte> ReadAll() => [.. _bytes];

    public string? TryReset() => CanReset ? null : "the host knows no way to reset it";

    public void Dispose() { }

    public uint Peek(int offset, int size) => size switch
    {
        1 => _bytes[offset],
        2 => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset)),
        _ => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(offset)),
    };

    public RegisterFile Poke(int offset, int size, uint value)
    {
        for (var i = 0; i < size; i++) _bytes[offset + i] = (byte)(value >> (8 * i));
        return this;
    }

    /// <summary>Puts capabilities in a chain from 0x40 on: each with its id, at the given offset.</summary>
    public RegisterFile WithCapabilities(params (int Offset, byte Id)[] capabilities)
    {
        Poke(0x06, 2, 0x0010);
        Poke(0x34, 1, (uint)capabilities[0].Offset);
        for (var i = 0; i < capabilities.Length; i++)
        {
            Poke(capabilities[i].Offset, 1, capabilities[i].Id);
            Poke(capabilities[i].Offset + 1, 1, i + 1 < capabilities.Length ? (uint)capabilities[i + 1].Offset : 0);
        }
        return this;
    }
}
