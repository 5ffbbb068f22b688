using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// A base address register, the upper half of a 64-bit one, or the expansion ROM register. Its value and size are captured
/// when the function is opened; the guest can read them, ask for the size, and restore the value after a reset, no more.
/// </summary>
internal sealed class BarField : ConfigField
{
    /// <summary>Index of the ROM in the resource table.</summary>
    public const int RomResource = 6;

    private const uint TypeBits = 0xF;

    // A write with every bit set, save those a register ignores, asks for the size.
    private const uint MemoryProbe = 0x0000_000F, IoProbe = 0x0000_0003, RomProbe = 0x0000_07FF, UpperHalfProbe = 0;

    private readonly uint _value;
    private readonly uint _size;
    private readonly uint _ignoredInProbe;
    private readonly DeviceRecord _record;
    private readonly int _resource;

    /// <param name="resource">Index in <see cref="IPciFunction.Resources"/>: 0..5 for BARs, <see cref="RomResource"/>.</param>
    public BarField(IPciFunction function, int offset, int resource, DeviceRecord record) : base(function, offset, 4)
    {
        (_resource, _record) = (resource, record);
        var own = function.Resources[resource];
        var below = resource is > 0 and < RomResource ? function.Resources[resource - 1] : default;
        if (below.Is64Bit)
        {
            (_value, _size) = ((uint)(below.Start >> 32), (uint)((0 - below.Size) >> 32));
            _ignoredInProbe = UpperHalfProbe;
        }
        else
        {
            if (own.IsUsable)
            {
                var type = (uint)own.Flags & TypeBits;
                (_value, _size) = ((uint)own.Start | type, (uint)(0 - own.Size) | type);
            }
            _ignoredInProbe = resource == RomResource ? RomProbe : own.IsIo ? IoProbe : MemoryProbe;
        }
    }

    public override string Rule => "the host's address; its size can be asked for, and the address written back after a reset";

    public override ConfigWriteFate Fate => ConfigWriteFate.Filtered;

    public override PciOpError Read(out uint value)
    {
        value = _record.ShowsSize(_resource) ? _size : _value;
        return PciOpError.Success;
    }

    public override PciOpError Write(uint value)
    {
        var asksForSize = (value | _ignoredInProbe) == uint.MaxValue;
        _record.ShowSize(_resource, asksForSize);
        if (!asksForSize && value == _value) RestoreHardware();
        return PciOpError.Success;
    }

    /// <summary>The next guest starts with the address, whatever the last one asked for.</summary>
    public void Release() => _record.ShowSize(_resource, false);

    private void RestoreHardware()
    {
        if (Function.Read(Offset, Size, out var hardware) == PciOpError.Success && hardware != _value)
            Function.Write(Offset, Size, _value);
    }
}
