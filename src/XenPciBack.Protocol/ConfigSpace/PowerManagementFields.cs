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

/// <summary>
/// PM control and status. The guest may change the power state, clear the PME status and select data; PME enable stays off.
/// After D3hot a function may have lost its BARs: the guest's own restore of each one reaches the hardware
/// (<see cref="BarField"/>), after the 10 ms that the guest waits anyway, so nothing waits here.
/// </summary>
internal sealed class PowerControlField : ConfigField
{
    private const uint StateBits = 0x0003, PmeEnable = 0x0100;

    // PME status and data select.
    private const uint GuestBits = 0x9E00;

    private const uint D0 = 0, D1 = 1, D2 = 2;
    private const uint SupportsD1 = 0x0200, SupportsD2 = 0x0400;

    private readonly uint _capabilities;

    /// <param name="capability">Offset of the PM capability; this register is 4 bytes into it.</param>
    public PowerControlField(IPciFunction function, int capability) : base(function, capability + 4, 2)
    {
        function.Read(capability + 2, 2, out _capabilities);
        if (Function.Read(Offset, Size, out var control) == PciOpError.Success && (control & PmeEnable) != 0)
            Function.Write(Offset, Size, control & ~PmeEnable);
    }

    public override string Rule => "power state, data select and PME status are the guest's, PME enable is not";

    public override PciOpError Write(uint value)
    {
        var error = Function.Read(Offset, Size, out var old);
        if (error != PciOpError.Success) return error;
        if (((old ^ value) & GuestBits) != 0)
        {
            error = Function.Write(Offset, Size, (old & ~GuestBits) | (value & GuestBits));
            if (error != PciOpError.Success) return error;
        }
        return SetState(value & StateBits) ? PciOpError.Success : PciOpError.AccessDenied;
    }

    /// <summary>Full power again, so that a reset and a restore find a function that listens.</summary>
    public void Release() => SetState(D0);

    private bool SetState(uint wanted)
    {
        // All ones is a function that has gone away.
        if (Function.Read(Offset, Size, out var control) != PciOpError.Success || control == 0xFFFF) return false;
        var current = control & StateBits;
        if (wanted == current) return true;
        // Back to D0 the whole word is written as zero: PME stays disabled and its status, write-one-to-clear, is kept.
        if (wanted == D0) return Function.Write(Offset, Size, 0) == PciOpError.Success;
        // From a sleeping state there is no way to a lighter one but through D0.
        if (wanted < current) return false;
        if (wanted == D1 && (_capabilities & SupportsD1) == 0 || wanted == D2 && (_capabilities & SupportsD2) == 0) return false;
        return Function.Write(Offset, Size, (control & ~StateBits) | wanted) == PciOpError.Success;
    }
}
