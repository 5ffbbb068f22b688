using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// Message control of MSI or MSI-X. Guests enable message interrupts by request, not here; only one that has been allowed
/// interrupt control (a stub domain) may flip the enable and mask-all bits, and only one kind of interrupt at a time.
/// </summary>
internal sealed class MessageControlField(IPciFunction function, ConfigPolicy policy, int capability, uint id) : ConfigField(function, capability + 2, 2)
{
    private const uint MsiEnable = 0x0001, MsixEnable = 0x8000, MsixMaskAll = 0x4000;

    private readonly uint _enable = EnableBit(id);
    private readonly uint _changeable = id == CapabilityId.Msi ? MsiEnable : MsixEnable | MsixMaskAll;
    private readonly uint _otherKind = id == CapabilityId.Msi ? CapabilityId.Msix : CapabilityId.Msi;

    public override string Rule => "switched by requests, not by writes";

    public override ConfigWriteFate Fate => ConfigWriteFate.Allowed;

    /// <summary>Whether the hardware has MSI or MSI-X switched on; false for a function without the capability.</summary>
    public static bool IsEnabled(IPciFunction function, uint id)
    {
        var capability = CapabilityList.Find(function, id);
        return capability != 0 && function.Read(capability + 2, 2, out var control) == PciOpError.Success && (control & EnableBit(id)) != 0;
    }

    public override PciOpError Write(uint value)
    {
        if (policy.Permissive) return Function.Write(Offset, Size, value);
        var error = Function.Read(Offset, Size, out var current);
        if (error != PciOpError.Success) return error;
        if (value == current) return PciOpError.Success;
        if (!policy.AllowInterruptControl || ((value ^ current) & ~_changeable) != 0) return PciOpError.AccessDenied;
        if ((value & _enable) != 0 && IsEnabled(Function, _otherKind)) return PciOpError.AccessDenied;
        return Function.Write(Offset, Size, value);
    }

    /// <summary>Off, whoever switched it on.</summary>
    public void Release()
    {
        if (Function.Read(Offset, Size, out var current) == PciOpError.Success && (current & _enable) != 0)
            Function.Write(Offset, Size, current & ~_enable);
    }

    private static uint EnableBit(uint id) => id == CapabilityId.Msi ? MsiEnable : MsixEnable;
}
