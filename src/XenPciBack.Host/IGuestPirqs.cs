using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Host;

/// <summary>PIRQs in the domains of guests.</summary>
public interface IGuestPirqs
{
    /// <summary>Those of one function in one guest.</summary>
    IPirqs Of(DomainId guest, HostBdf function);
}
