using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Interrupts;

/// <summary>
/// Whether a guest may use a function's INTx line. Where a driver of the host listens on the same level-triggered line, the host
/// would get the guest's interrupts too, find nobody who claims them, and switch the line off for its own device. The kernel's backend
/// claims them with a handler; nothing outside the kernel can. So such a line is kept silent, if the function has another way to
/// interrupt and a bit to silence it, and the function is refused if not.
/// </summary>
public static class InterruptLine
{
    /// <param name="keepSilent">The guest gets the function without its line; message interrupts work.</param>
    /// <returns>null, or why the function cannot be given to a guest.</returns>
    public static string? ObjectionTo(IPciFunction function, ConfigPolicy policy, out bool keepSilent)
    {
        keepSilent = false;
        if (function.LineSharers.IsEmpty || policy.AllowSharedLine || !UsesALine(function)) return null;
        var line = $"it shares interrupt line {function.Irq} with {string.Join(", ", function.LineSharers)} of this host, which its interrupts would take down";
        if (CapabilityList.Find(function, CapabilityId.Msi) == 0 && CapabilityList.Find(function, CapabilityId.Msix) == 0)
            return $"{line}, and it has neither MSI nor MSI-X; move one of the two to another slot, or set allow-shared-line for this device";
        if (!CanBeSilenced(function)) return $"{line}, and it cannot be kept from using it; move one of the two to another slot, or set allow-shared-line for this device";
        keepSilent = true;
        return null;
    }

    // A bridge passes on the lines of what is behind it, and a virtual function has none.
    private static bool UsesALine(IPciFunction function) =>
        !function.IsVirtualFunction
        && function.Read(Register.HeaderType, 1, out var headerType) == PciOpError.Success && (headerType & 0x7F) == 0
        && function.Read(Register.InterruptPin, 1, out var pin) == PciOpError.Success && pin != 0;

    // Functions from before PCI 2.3 do not have the bit.
    private static bool CanBeSilenced(IPciFunction function)
    {
        if (function.Read(Register.Command, 2, out var before) != PciOpError.Success) return false;
        if ((before & CommandBits.IntxDisable) != 0) return true;
        function.Write(Register.Command, 2, before | CommandBits.IntxDisable);
        function.Read(Register.Command, 2, out var after);
        function.Write(Register.Command, 2, before);
        return (after & CommandBits.IntxDisable) != 0;
    }
}
