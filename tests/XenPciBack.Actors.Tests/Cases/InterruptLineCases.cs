using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>
/// Cases 95 to 98: a line that drivers of the host listen on too. Deviation in all of them: the kernel claims the guest's interrupts
/// with a handler; here the line is kept silent, or the device refused.
/// </summary>
public class InterruptLineCases : CaseTest
{
    private const int Command = 0x04;
    private const uint IntxDisable = 0x0400;

    [Fact]
    public async Task Case_95_A_line_shared_with_the_host_is_silent_whatever_the_guest_enables()
    {
        Xen.Pci.Plug(Intel82574.At(Spare).SharingItsLineWith("eth0"));
        var guest = await ConnectedGuestAsync("web", Spare);
        foreach (var command in (uint[])[0x0003, 0x0403, 0x0000, 0x0007])
        {
            await guest.Frontend.WriteConfigAsync(0, 0, 0, Command, 2, command);
            Assert.Equal(IntxDisable, Line);
        }
        Assert.Equal(0, (await AskAsync(guest, EnableMsi)).Error);
        Assert.Equal(0, (await AskAsync(guest, DisableMsi)).Error);
        Assert.Equal(IntxDisable, Line);

        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(0u, () => Line);
    }

    [Fact]
    public async Task Case_96_Decoding_switched_on_while_msi_is_on_leaves_the_line_off()
    {
        Xen.Pci.Plug(Intel82574.At(Spare));
        var guest = await ConnectedGuestAsync("web", Spare);
        Assert.Equal(0, (await AskAsync(guest, EnableMsi)).Error);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, Command, 2, 0x0003);
        Assert.Equal(IntxDisable, Line);
    }

    [Fact]
    public async Task Case_97_A_virtual_function_has_no_line_to_object_to()
    {
        Xen.Pci.Plug(Nvme.At(Spare).VirtualFunction().SharingItsLineWith("eth0"));
        var guest = await ConnectedGuestAsync("web", Spare);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, Command, 2, 0x0006);
        Assert.Equal(0u, Line);
    }

    [Fact]
    public async Task Case_98_A_bridge_is_given_with_any_line()
    {
        Xen.Pci.Plug(RedHatPciBridge.At(Spare).Interrupt(pin: 1, irq: 16).SharingItsLineWith("eth0"));
        var guest = await ConnectedGuestAsync("web", Spare);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, Command, 2, 0x0006);
        Assert.Equal(0u, Line);
    }

    private uint Line => Xen.Pci[Spare].Read(Command, 2) & IntxDisable;
}
