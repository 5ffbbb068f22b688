using XenPciBack.Simulation.Pci;

namespace XenPciBack.Testing;

/// <summary>A device as its hardware is, past the backend: <c>dom0.Xen.Pci[Nic].Read(Register.Command)</c>.</summary>
public static class Hardware
{
    public static uint Read(this PciFunctionModel device, Register register) =>
        device.Read(register.Offset, register.Size);

    /// <summary>Sets a register whether it can be written or not.</summary>
    public static void Force(this PciFunctionModel device, Register register, uint value) =>
        device.Force(register.Offset, register.Size, value);
}
