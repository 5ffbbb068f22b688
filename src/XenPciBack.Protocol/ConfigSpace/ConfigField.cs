using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// A span of config space with a rule of its own: 1, 2 or 4 bytes at an absolute offset. The rule a plain field states is
/// the strictest one: the guest reads the hardware, and what it writes is dropped without an error.
/// </summary>
internal class ConfigField(IPciFunction function, int offset, int size)
{
    public int Offset { get; } = offset;
    public int Size { get; } = size;
    protected IPciFunction Function { get; } = function;

    /// <summary>Its rule in words, for the trace.</summary>
    public virtual string Rule => "read-only";

    /// <summary>What the rule lets through of a write that changes the register and is answered with success.</summary>
    public virtual ConfigWriteFate Fate => ConfigWriteFate.Dropped;

    public bool Overlaps(int offset, int size) => offset + size > Offset && Offset + Size > offset;

    public virtual PciOpError Read(out uint value) => Function.Read(Offset, Size, out value);

    /// <summary>Takes the whole field's new value, the guest's bytes already merged into the old one.</summary>
    public virtual PciOpError Write(uint value) => PciOpError.Success;
}

/// <summary>Goes straight to the hardware, both ways.</summary>
internal sealed class RawField(IPciFunction function, int offset, int size) : ConfigField(function, offset, size)
{
    public override string Rule => "the device's own";

    public override ConfigWriteFate Fate => ConfigWriteFate.Allowed;

    public override PciOpError Write(uint value) => Function.Write(Offset, Size, value);
}

/// <summary>A register the administrator has opened; the bus has no access that is not aligned.</summary>
internal sealed class QuirkField(IPciFunction function, ConfigQuirk quirk) : ConfigField(function, quirk.Offset, quirk.Size)
{
    public override string Rule => "a quirk: the device's own";

    public override ConfigWriteFate Fate => ConfigWriteFate.Allowed;

    public override PciOpError Read(out uint value)
    {
        value = 0;
        return IsAligned ? base.Read(out value) : PciOpError.InvalidOffset;
    }

    public override PciOpError Write(uint value) => IsAligned ? Function.Write(Offset, Size, value) : PciOpError.InvalidOffset;

    private bool IsAligned => Offset % Size == 0;
}

/// <summary>Reads as a value the host knows better than the register does.</summary>
internal sealed class HostValueField(IPciFunction function, int offset, int size, Func<uint> value) : ConfigField(function, offset, size)
{
    public override string Rule => "the host's value, read-only";

    public override PciOpError Read(out uint result)
    {
        result = value();
        return PciOpError.Success;
    }
}

/// <summary>BIST: a guest may start the self-test or write back what it read, nothing else.</summary>
internal sealed class BistField(IPciFunction function) : ConfigField(function, Register.Bist, 1)
{
    private const uint Start = 0x40;

    public override string Rule => "the self-test may be started, nothing else changed";

    public override ConfigWriteFate Fate => ConfigWriteFate.Filtered;

    public override PciOpError Write(uint value)
    {
        var error = Function.Read(Offset, Size, out var current);
        if (error != PciOpError.Success) return error;
        var allowed = (current & ~Start) == (value & ~Start) || value == Start;
        return allowed ? Function.Write(Offset, Size, value) : PciOpError.Success;
    }
}

/// <summary>VPD address: reads of vital product data may be started, writes (bit 15) are refused.</summary>
internal sealed class VpdAddressField(IPciFunction function, int offset) : ConfigField(function, offset, 2)
{
    private const uint WriteFlag = 0x8000;

    public override string Rule => "reads may be started, writes (bit 15) not";

    public override ConfigWriteFate Fate => ConfigWriteFate.Allowed;

    public override PciOpError Write(uint value) =>
        (value & WriteFlag) != 0 ? PciOpError.AccessDenied : Function.Write(Offset, Size, value);
}
