namespace XenPciBack.Lab.Machine;

/// <summary>Who serves a guest's PCI devices.</summary>
public enum BackendKind
{
    /// <summary>Linux's xen-pciback.</summary>
    Kernel,

    /// <summary>XenPciBack, this project's daemon.</summary>
    Daemon,
}
