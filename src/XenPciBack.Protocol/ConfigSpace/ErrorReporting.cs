using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// Whether a function tells the root port of its errors: the four bits in device control for correctable, non-fatal and fatal ones
/// and for unsupported requests. Newer kernels switch them on for every device, older ones leave that to drivers.
/// </summary>
/// <remarks>PCI Express Base Specification 7.5.3.4.</remarks>
internal static class ErrorReporting
{
    private const int DeviceControl = 0x08;
    private const uint AllErrors = 0x000F;

    /// <summary>Nothing happens to a function without error registers of its own: nobody could say what it reports.</summary>
    public static void Enable(IPciFunction function)
    {
        if (CapabilityList.FindExtended(function, CapabilityId.ErrorReporting) == 0) return;
        var express = CapabilityList.Find(function, CapabilityId.PciExpress);
        if (express != 0 && function.Read(express + DeviceControl, 2, out var control) == PciOpError.Success && (control & AllErrors) != AllErrors)
            function.Write(express + DeviceControl, 2, control | AllErrors);
    }
}
