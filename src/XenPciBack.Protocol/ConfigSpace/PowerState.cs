using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// The power state of a function, as its PM capability has it: D0 to D3hot. After D3hot a function may have lost its BARs: the
/// guest's own restore of each one reaches the hardware (<see cref="BarField"/>), after the 10 ms that the guest waits anyway, so nothing
/// waits here.
/// </summary>
/// <remarks>PCI Bus Power Management Interface Specification 1.2, section 3.2.4; a function without the capability is in D0.</remarks>
internal sealed class PowerState(IPciFunction function)
{
    public const uint D0 = 0, D1 = 1, D2 = 2;
    public const uint Bits = 0x0003;

    private const int Capabilities = 2, Control = 4;
    private const uint SupportsD1 = 0x0200, SupportsD2 = 0x0400;

    private readonly int _capability = CapabilityList.Find(function, CapabilityId.PowerManagement);

    public bool IsD0 => _capability == 0 || (Read(out var control) && (control & Bits) == D0);

    /// <returns>false if there is no way to that state from the present one, or the function has gone away.</returns>
    public bool Set(uint wanted)
    {
        if (_capability == 0) return wanted == D0;
        // All ones is a function that has gone away.
        if (!Read(out var control) || control == 0xFFFF) return false;
        var current = control & Bits;
        if (wanted == current) return true;
        // Back to D0 the whole word is written as zero: PME stays disabled and its status, write-one-to-clear, is kept.
        if (wanted == D0) return Write(0);
        // From a sleeping state there is no way to a lighter one but through D0.
        if (wanted < current || !Supports(wanted)) return false;
        return Write((control & ~Bits) | wanted);
    }

    private bool Supports(uint state)
    {
        function.Read(_capability + Capabilities, 2, out var capabilities);
        return state switch { D1 => (capabilities & SupportsD1) != 0, D2 => (capabilities & SupportsD2) != 0, _ => true };
    }

    private bool Read(out uint control) => function.Read(_capability + Control, 2, out control) == PciOpError.Success;

    private bool Write(uint control) => function.Write(_capability + Control, 2, control) == PciOpError.Success;
}
