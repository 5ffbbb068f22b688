using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>
/// Cases 95 to 98: a line that drivers of the host listen on too. Deviation in all of them: the kernel claims the guest's
/// interrupts with a handler; here the line is kept silent, or the device refused.
/// </summary>
public class InterruptLineCases
{
    [Fact]
    public async Task Case_95_A_line_shared_with_the_host_is_silent_whatever_the_guest_enables()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(Intel82574.At(Spare).SharingItsLineWith("eth0"));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        foreach (var command in (uint[])[0x0003, 0x0403, 0x0000, 0x0007])
        {
            await guest.Device(0).WriteAsync(Register.Command, command);
            Assert.Equal(CommandBits.IntxDisable, Line(dom0));
        }
        Assert.Equal(0, (await guest.Device(0).EnableMsiAsync()).Error);
        Assert.Equal(0, (await guest.Device(0).DisableMsiAsync()).Error);
        Assert.Equal(CommandBits.IntxDisable, Line(dom0));

        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(0u, () => Line(dom0));
    }

    [Fact]
    public async Task Case_96_Decoding_switched_on_while_msi_is_on_leaves_the_line_off()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(Intel82574.At(Spare));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        Assert.Equal(0, (await guest.Device(0).EnableMsiAsync()).Error);
        await guest.Device(0).WriteAsync(Register.Command, 0x0003);
        Assert.Equal(CommandBits.IntxDisable, Line(dom0));
    }

    [Fact]
    public async Task Case_97_A_virtual_function_has_no_line_to_object_to()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(Nvme.At(Spare).VirtualFunction().SharingItsLineWith("eth0"));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).TurnOnAsync();
        Assert.Equal(0u, Line(dom0));
    }

    [Fact]
    public async Task Case_98_A_bridge_is_given_with_any_line()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.Plug(RedHatPciBridge.At(Spare).Interrupt(pin: 1, irq: 16).SharingItsLineWith("eth0"));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).TurnOnAsync();
        Assert.Equal(0u, Line(dom0));
    }

    private static uint Line(TestDom0 dom0) => dom0.Xen.Pci[Spare].Read(Register.Command) & CommandBits.IntxDisable;
}
