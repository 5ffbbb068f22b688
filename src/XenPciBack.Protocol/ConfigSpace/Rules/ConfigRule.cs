namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>Where the value comes from that <see cref="ConfigRule.Show"/> is given.</summary>
internal enum RegisterSource
{
    /// <summary>The register is read from the device.</summary>
    Device,

    /// <summary>Nothing is read: the rule knows the value.</summary>
    Rule,

    /// <summary>The host's Linux IRQ number of the device.</summary>
    HostIrq,
}

/// <summary>
/// What a guest may see of a span of config space, and what becomes of what it writes there: 1, 2 or 4 bytes at an
/// absolute offset. A rule only decides; <see cref="VirtualConfigSpace"/> reads and writes. The base class is the
/// strictest rule: the guest reads the device, and what it writes is dropped without an error.
/// </summary>
internal class ConfigRule(int offset, int size)
{
    public int Offset { get; } = offset;

    public int Size { get; } = size;

    /// <summary>The rule in words, for the trace and the documentation.</summary>
    public virtual string Text => "read-only";

    public virtual RegisterSource Source => RegisterSource.Device;

    /// <summary>A rule that no access can keep: both reads and writes are refused with an invalid offset.</summary>
    public virtual bool IsReachable => true;

    public bool Overlaps(int offset, int size) => offset + size > Offset && Offset + Size > offset;

    /// <summary>What the guest reads.</summary>
    /// <param name="value">From the rule's <see cref="Source"/>; 0 where that is the rule itself.</param>
    public virtual uint Show(uint value, in Shadow shadow) => value;

    /// <summary>Registers beside its own that <see cref="Decide"/> has to know for this write, in that order.</summary>
    public virtual ReadOnlySpan<(int Offset, int Size)> Needs(in Write write) => [];

    /// <summary>Decides what becomes of a write; the same input always gives the same decision.</summary>
    /// <param name="needed">The registers of <see cref="Needs"/>; null: that one could not be read.</param>
    public virtual WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed) => WriteDecision.Dropped;

    /// <summary>A guest's write to the register of a rule.</summary>
    /// <param name="Asked">The register's new value: the guest's bytes, merged into what it reads.</param>
    /// <param name="Shown">What the guest reads before the write.</param>
    /// <param name="Device">What the device has, where <see cref="Source"/> is the device.</param>
    public readonly record struct Write(uint Asked, uint Shown, uint Device, Shadow Shadow);
}

/// <summary>
/// What the guest has been shown that the device does not have. It is a part of the device's record, so that the next
/// daemon shows the same.
/// </summary>
/// <param name="Command">The command register as the guest wrote it last.</param>
/// <param name="IsDecoding">The guest has switched decoding on.</param>
/// <param name="IsBusMaster">The guest has switched bus mastering on.</param>
/// <param name="BarsShowingSize">Bit N: BAR N shows its size; bit 6: the ROM does.</param>
public readonly record struct Shadow(ushort Command, bool IsDecoding, bool IsBusMaster, byte BarsShowingSize)
{
    public bool ShowsSize(int resource) => (BarsShowingSize & (1 << resource)) != 0;

    public Shadow ShowSize(int resource, bool shows) => this with
    {
        BarsShowingSize = (byte)(shows ? BarsShowingSize | (1 << resource) : BarsShowingSize & ~(1 << resource)),
    };
}
