using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>PM capabilities: the guest is told that the function cannot raise a PME, which would be shared with others.</summary>
internal sealed class PowerCapabilitiesField(IPciFunction function, int offset) : ConfigField(function, offset, 2)
{
    private const uint PmeSupport = 0xF800;

    public override string Rule => "read-only, without PME support";

    public override PciOpError Read(out uint value)
    {
        var error = base.Read(out value);
        value &= ~PmeSupport;
        return error;
    }
}

/// <summary>PM control and status. The guest may change the power state, clear the PME status and select data; PME enable stays off.</summary>
internal sealed class PowerControlField : ConfigField
{
    private const uint PmeEnable = 0x0100;

    // PME status and data select.
    private const uint GuestBits = 0x9E00;

    private readonly PowerState _power;

    /// <param name="capability">Offset of the PM capability; this register is 4 bytes into it.</param>
    public PowerControlField(IPciFunction function, int capability, PowerState power) : base(function, capability + 4, 2)
    {
        _power = power;
        if (Function.Read(Offset, Size, out var control) == PciOpError.Success && (control & PmeEnable) != 0)
            Function.Write(Offset, Size, control & ~PmeEnable);
    }

    public override string Rule => "power state, data select and PME status are the guest's, PME enable is not";

    public override ConfigWriteFate Fate => ConfigWriteFate.Filtered;

    public override PciOpError Write(uint value)
    {
        var error = Function.Read(Offset, Size, out var old);
        if (error != PciOpError.Success) return error;
        if (((old ^ value) & GuestBits) != 0)
        {
            error = Function.Write(Offset, Size, (old & ~GuestBits) | (value & GuestBits));
            if (error != PciOpError.Success) return error;
        }
        return _power.Set(value & PowerState.Bits) ? PciOpError.Success : PciOpError.AccessDenied;
    }
}
