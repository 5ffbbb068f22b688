using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Host;

/// <summary>The PCI devices of this host that guests can be given.</summary>
public interface IPciHost
{
    /// <summary>Opens a function for a guest.</summary>
    /// <exception cref="PciFunctionUnavailableException">It does not exist or is not set aside for guests.</exception>
    IPciFunction Open(HostBdf bdf);

    /// <summary>Why no guest may be given one more function, whichever it is; null if nothing is against it. What guests have already is opened all the same.</summary>
    string? ObjectionToMore { get; }

    /// <summary>What the administrator has allowed the function's guests with the host's own switches, as they are now.</summary>
    ConfigPolicy PolicyOf(HostBdf bdf);

    /// <summary>The bridges between the root bus and a function, the nearest last; empty if there are none or no such function.</summary>
    ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf);

    /// <summary>Whether the kernel's own xen-pciback serves this backend directory, so that we must keep off.</summary>
    /// <param name="deviceId">The <c>devid</c> of <c>backend/pci/&lt;domid&gt;/&lt;devid&gt;</c>; 0 with libxl.</param>
    bool KernelBackendServes(DomainId guest, int deviceId);
}

/// <summary>A function that cannot be given to a guest, and why, in words for an administrator.</summary>
public sealed class PciFunctionUnavailableException(HostBdf bdf, string reason) : Exception($"{bdf}: {reason}")
{
    public HostBdf Bdf { get; } = bdf;

    /// <summary>Somebody in this process has it open, maybe on its way back from another guest.</summary>
    public bool IsInUse { get; init; }
}
