namespace XenPciBack.Protocol.Interrupts;

/// <summary>
/// The PIRQs in a guest's domain through which the messages of one function reach it. The hypervisor maps a vector a second time
/// without a word, so only a record can tell what to unmap (<see cref="Records.DeviceRecord.Mapped"/>).
/// </summary>
public interface IPirqs
{
    /// <summary>Maps the function's MSI message.</summary>
    /// <returns>0, or a positive errno of <see cref="Errnos"/>.</returns>
    int MapMsi(out Pirq pirq);

    /// <summary>Maps one message of the function's MSI-X table.</summary>
    /// <param name="entry">Index in the table, 0 to 2047.</param>
    /// <param name="tableBar">Start address of the BAR the table lies in; not the table's own address.</param>
    /// <returns>0, or a positive errno: ENODEV if the device is not assigned to the guest, ENXIO without memory decoding.</returns>
    int MapMsix(ushort entry, ulong tableBar, out Pirq pirq);

    /// <summary>Writes the mapped messages into the function again, which has lost them in a reset. It must decode memory.</summary>
    /// <returns>0, or a positive errno.</returns>
    int Restore();

    /// <summary>That the domain is gone or no longer has the PIRQ is as good as success.</summary>
    /// <returns>0, or a positive errno.</returns>
    int Unmap(Pirq pirq);
}
