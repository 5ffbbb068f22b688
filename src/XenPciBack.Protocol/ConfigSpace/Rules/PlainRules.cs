namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>A register that is the guest's, both ways.</summary>
internal sealed class OpenRule(int offset, int size) : ConfigRule(offset, size)
{
    public override string Text => "the device's own";

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed) =>
        WriteDecision.Through(this, write.Asked);
}

/// <summary>A register the administrator has opened; the bus has no access that is not aligned.</summary>
internal sealed class QuirkRule(ConfigQuirk quirk) : ConfigRule(quirk.Offset, quirk.Size)
{
    public override string Text => "a quirk: the device's own";

    public override bool IsReachable => Offset % Size == 0;

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed) =>
        WriteDecision.Through(this, write.Asked);
}

/// <summary>A register that reads as the host knows it: a virtual function has no IDs of its own.</summary>
internal sealed class HostValueRule(int offset, int size, uint known) : ConfigRule(offset, size)
{
    public override string Text => "the host's value, read-only";

    public override RegisterSource Source => RegisterSource.Rule;

    public override uint Show(uint value, in Shadow shadow) => known;
}

/// <summary>The interrupt line, which is the host's IRQ number.</summary>
internal sealed class InterruptLineRule() : ConfigRule(Register.InterruptLine, 1)
{
    public override string Text => "the host's value, read-only";

    public override RegisterSource Source => RegisterSource.HostIrq;
}

/// <summary>BIST: a guest may start the self-test or write back what it read, nothing else.</summary>
internal sealed class BistRule() : ConfigRule(Register.Bist, 1)
{
    private const uint Start = 0x40;

    public override string Text => "the self-test may be started, nothing else changed";

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed) =>
        (write.Device & ~Start) == (write.Asked & ~Start) || write.Asked == Start
            ? WriteDecision.Through(this, write.Asked) with { Fate = ConfigWriteFate.Filtered }
            : WriteDecision.Dropped;
}

/// <summary>VPD address: reads of vital product data may be started, writes (bit 15) are refused.</summary>
internal sealed class VpdAddressRule(int offset) : ConfigRule(offset, 2)
{
    private const uint WriteFlag = 0x8000;

    public override string Text => "reads may be started, writes (bit 15) not";

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed) =>
        (write.Asked & WriteFlag) != 0 ? WriteDecision.Denied : WriteDecision.Through(this, write.Asked);
}
