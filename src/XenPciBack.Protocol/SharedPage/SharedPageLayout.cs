namespace XenPciBack.Protocol.SharedPage;

/// <summary>
/// Byte offsets of <c>struct xen_pci_sharedinfo</c> (Linux include/xen/interface/io/pciif.h): 572 bytes of one granted
/// 4096-byte page, 16- and 32-bit little-endian members only, so 32- and 64-bit guests agree.
/// </summary>
public static class SharedPageLayout
{
    public const int PageSize = 4096;
    public const int UsedSize = 572;

    public const int Flags = 0;

    public const int Op = 4;
    public const int OpSize = 548;
    public const int OpCmd = 4;
    public const int OpErr = 8;
    public const int OpDomain = 12;
    public const int OpBus = 16;
    public const int OpDevFn = 20;
    public const int OpOffset = 24;
    public const int OpAccessSize = 28;
    public const int OpValue = 32;
    public const int OpInfo = 36;

    /// <summary>128 entries of 4 bytes: <c>u16 vector</c> (out), <c>u16 entry</c> (in).</summary>
    public const int OpMsixEntries = 40;
    public const int MsixEntrySize = 4;
    public const int MaxMsixEntries = 128;

    public const int AerOp = 552;
    public const int AerOpSize = 20;
    public const int AerCmd = 552;

    /// <summary>In a request the state of the channel, in its answer the verdict of the guest's driver.</summary>
    public const int AerErr = 556;
    public const int AerDomain = 560;
    public const int AerBus = 564;
    public const int AerDevFn = 568;

    /// <summary>XEN_PCIF_active: set by the frontend when a request is in <c>op</c>, cleared by the backend when answered.</summary>
    public const uint FrontendActive = 1 << 0;

    /// <summary>XEN_PCIB_AERHANDLER: set once by a frontend that can take AER requests.</summary>
    public const uint AerHandler = 1 << 1;

    /// <summary>XEN_PCIB_active: set by the backend when an AER request is in <c>aer_op</c>, cleared by the frontend.</summary>
    public const uint BackendActive = 1 << 2;

    /// <summary>The exact text of the frontend's <c>magic</c> node.</summary>
    public const string Magic = "7";
}
