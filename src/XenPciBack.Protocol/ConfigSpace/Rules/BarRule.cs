namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>
/// A base address register, the upper half of a 64-bit one, or the expansion ROM register. Its value and size are those
/// of the host's resource table when the function was opened; the guest can read them, ask for the size, and restore
/// the value after a reset, no more.
/// </summary>
internal sealed class BarRule : ConfigRule
{
    /// <summary>Index of the ROM in the resource table.</summary>
    public const int RomResource = 6;

    private const uint TypeBits = 0xF;

    // A write with every bit set, save those a register ignores, asks for the size.
    private const uint MemoryProbe = 0x0000_000F, IoProbe = 0x0000_0003, RomProbe = 0x0000_07FF, UpperHalfProbe = 0;

    private readonly int _resource;
    private readonly uint _value;
    private readonly uint _size;
    private readonly uint _ignoredInProbe;

    /// <param name="resource">Index in the resource table: 0 to 5 for BARs, <see cref="RomResource"/>.</param>
    public BarRule(int offset, int resource, IReadOnlyList<PciResource> resources) : base(offset, 4)
    {
        _resource = resource;
        var own = resources[resource];
        var below = resource is > 0 and < RomResource ? resources[resource - 1] : default;
        if (below.Is64Bit)
        {
            (_value, _size) = ((uint)(below.Start >> 32), (uint)((0 - below.Size) >> 32));
            _ignoredInProbe = UpperHalfProbe;
            return;
        }
        if (own.IsUsable)
        {
            var type = (uint)own.Flags & TypeBits;
            (_value, _size) = ((uint)own.Start | type, (uint)(0 - own.Size) | type);
        }
        _ignoredInProbe = resource == RomResource ? RomProbe : own.IsIo ? IoProbe : MemoryProbe;
    }

    public override string Text =>
        "the host's address; its size can be asked for, and the address written back after a reset";

    public override RegisterSource Source => RegisterSource.Rule;

    public override uint Show(uint value, in Shadow shadow) => shadow.ShowsSize(_resource) ? _size : _value;

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed)
    {
        var asksForSize = (write.Asked | _ignoredInProbe) == uint.MaxValue;
        var remember = new ConfigStep.Remember(write.Shadow.ShowSize(_resource, asksForSize));
        if (asksForSize || write.Asked != _value) return new WriteDecision([remember], ConfigWriteFate.Filtered);
        var restore = new ConfigStep.Update(Offset, Size, uint.MaxValue, _value) { Failure = StepFailure.Ignored };
        return new WriteDecision([remember, restore], ConfigWriteFate.Filtered);
    }
}
