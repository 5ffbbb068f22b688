using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 14 to 22: what a guest reads from config space.</summary>
public class ConfigReadCases : CaseTest
{
    private const int Bar0 = 0x10, InterruptLine = 0x3C, MinGnt = 0x3E;
    private const int PowerCapabilities = 0xCA, MsiAddress = 0xD4, AerCapability = 0x100;

    [Theory]
    [InlineData(0, 3), InlineData(0, 0), InlineData(0, 8), InlineData(1, 2), InlineData(2, 4)]
    public async Task Case_14_A_read_of_an_odd_width_or_place_is_refused_with_value_0(int offset, int size)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await guest.Frontend.SendAsync(new FrontendRequest(0, 0, 0, 0, offset, size, Value: 0xCAFE));
        Assert.Equal((-2, 0u), (answer.Error, answer.Value));
    }

    [Theory]
    [InlineData(-4, 4), InlineData(4096, 4), InlineData(4094, 4)]
    // Deviation: an offset outside config space is refused here and never handed to the host.
    public async Task Case_15_A_read_outside_config_space_is_refused_without_touching_the_device(int offset, int size)
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedGuestAsync("web", Nic);
        var touched = 0;
        hooks.Pci.Reading = _ =>
        {
            touched++;
            return null;
        };
        Assert.Equal(-2, (await guest.Frontend.ReadConfigAsync(0, 0, 0, offset, size)).Error);
        Assert.Equal(0, touched);
    }

    [Fact]
    public async Task Case_16_The_ids_of_a_device_are_those_the_host_knows_even_where_hardware_reads_all_ones()
    {
        Xen.Pci.Plug(Nvme.At(Spare).VirtualFunction());
        Assert.Equal(0xFFFF_FFFF, Xen.Pci[Spare].Read(0, 4));
        Assert.Equal(0x0010_1B36u, await ReadRegisterAsync(await ConnectedGuestAsync("vf", Spare), 0, 4));
        Assert.Equal(0x10D3_8086u, await ReadRegisterAsync(await ConnectedGuestAsync("web", Nic), 0, 4));
    }

    [Fact]
    public async Task Case_17_A_bar_reads_as_it_was_when_the_device_was_opened()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var captured = Xen.Pci[Nic].Read(Bar0, 4);
        Xen.Pci[Nic].Force(Bar0, 4, 0);
        Assert.Equal(captured, await ReadRegisterAsync(guest, Bar0, 4));
    }

    [Fact]
    public async Task Case_18_Parts_of_a_bar_are_parts_of_its_virtual_value()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var bar = Xen.Pci[Nic].Read(Bar0, 4);
        Xen.Pci[Nic].Force(Bar0, 4, 0);
        // Deviation: bits above the access width are zero, where the kernel leaves what a wider field has there.
        Assert.Equal(bar >> 16, await ReadRegisterAsync(guest, Bar0 + 2, 2));
        Assert.Equal(bar >> 24, await ReadRegisterAsync(guest, Bar0 + 3, 1));
    }

    [Fact]
    public async Task Case_19_The_interrupt_line_is_the_hosts_and_its_neighbours_are_the_devices()
    {
        Xen.Pci.Plug(QemuEdu.At(Spare, irq: 0x12C));
        Xen.Pci[Spare].Force(InterruptLine, 1, 0x99);
        Xen.Pci[Spare].Force(MinGnt, 2, 0x3412);
        var guest = await ConnectedGuestAsync("web", Spare);
        Assert.Equal(0x2Cu, await ReadRegisterAsync(guest, InterruptLine, 1));
        Assert.Equal(0x3412_012Cu, await ReadRegisterAsync(guest, InterruptLine, 4));

        // Deviation: while MSI is on the kernel shows a number of dom0's; here the line stays what it was.
        Assert.Equal(0, (await AskAsync(guest, EnableMsi)).Error);
        Assert.Equal(0x2Cu, await ReadRegisterAsync(guest, InterruptLine, 1));
    }

    [Fact]
    public async Task Case_20_No_power_state_is_said_to_raise_a_pme()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.NotEqual(0u, Xen.Pci[Nic].Read(PowerCapabilities, 2) & 0xF800);
        Assert.Equal(Xen.Pci[Nic].Read(PowerCapabilities, 2) & 0x07FF, await ReadRegisterAsync(guest, PowerCapabilities, 2));
    }

    [Fact]
    public async Task Case_21_The_msi_address_reads_as_in_hardware()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Pci[Nic].Force(MsiAddress, 4, 0xFEE0_1000);
        Assert.Equal(0xFEE0_1000, await ReadRegisterAsync(guest, MsiAddress, 4));
    }

    [Fact]
    public async Task Case_22_An_extended_capability_reads_as_in_hardware()
    {
        const uint aerVersion2AndNextAt140 = 0x1402_0001;
        Assert.Equal(aerVersion2AndNextAt140, await ReadRegisterAsync(await ConnectedGuestAsync("web", Nic), AerCapability, 4));
    }
}
