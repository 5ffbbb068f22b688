using System.Buffers.Binary;
using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>The registers of a network card as plain memory, so that nothing but the rules is measured.</summary>
internal sealed class RegisterFile : IPciFunction
{
    private readonly byte[] _registers;

    public RegisterFile()
    {
        var host = new SimulatedPciHost();
        var bdf = HostBdf.Parse("0000:03:00.0");
        host.Plug(Intel82574.At(bdf));
        using var card = host.OfOneProcess().Open(bdf);
        (Facts, _registers) = (card.Facts, [.. card.ReadAll()]);
    }

    public PciFunctionFacts Facts { get; }

    public bool DecodesMemory => (_registers[0x04] & 0x2) != 0;

    public int Irq => 16;

    public PciOpError Read(int offset, int size, out uint value)
    {
        var register = _registers.AsSpan(offset);
        value = size switch
        {
            1 => register[0],
            2 => BinaryPrimitives.ReadUInt16LittleEndian(register),
            _ => BinaryPrimitives.ReadUInt32LittleEndian(register),
        };
        return PciOpError.Success;
    }

    public PciOpError Write(int offset, int size, uint value)
    {
        for (var i = 0; i < size; i++) _registers[offset + i] = (byte)(value >> (8 * i));
        return PciOpError.Success;
    }

    public ImmutableArray<byte> ReadAll() => [.. _registers];

    public string? TryReset() => null;

    public void Dispose() { }
}
