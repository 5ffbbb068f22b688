using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>
/// Cases 87 and 88: what the kernel's module takes from sysfs, and how long it holds. Case 86, the grammar of hidden
/// devices, and what case 87 refuses are HidePatternTests and ConfigQuirkTests in XenPciBack.Protocol.Tests.
/// </summary>
public class ConfigurationCases
{
    private static readonly HostBdf Device = HostBdf.Parse("0000:00:19.0");

    /// <summary>A register of the device without a rule.</summary>
    private static readonly Register Unruled = new(0xE0, 2);

    [Fact]
    public async Task Case_87_A_quirk_opens_a_register_of_its_device_in_full_whatever_its_mask()
    {
        await using var dom0 = await TestDom0.StartAsync(WithQuirk("00:19.0-E0:2:FF"));
        dom0.Xen.Pci.Plug(SoftDevice());
        var guest = await dom0.ConnectedGuestAsync("web", Device);
        await guest.Device(0).WriteAsync(Unruled, 0xABCD);
        await guest.Device(0).WriteAsync(Unruled with { Offset = 0xE2 }, 0xABCD);
        Assert.Equal(0x0000_ABCDu, dom0.Xen.Pci[Device].Read(Unruled with { Size = 4 }));
    }

    [Fact]
    // Deviation: in the kernel interrupt control and quirks end with the guest; here the next one has them too, as permissive.
    public async Task Case_88_What_the_host_allows_a_device_it_allows_the_next_guest_too()
    {
        await using var dom0 = await TestDom0.StartAsync(WithQuirk("00:19.0-E0:2:FF"));
        dom0.Xen.Pci.Plug(SoftDevice());
        dom0.Xen.Pci.SetPolicy(Nic, new ConfigPolicy(Permissive: true));
        dom0.Xen.Pci.SetPolicy(Device, new ConfigPolicy(AllowInterruptControl: true));
        await dom0.Xen.DestroyGuestAsync(await dom0.ConnectedGuestAsync("web", Device, Nic));
        var next = await dom0.ConnectedGuestAsync("next", Device, Nic);

        await next.Device(1).WriteAsync(NicRegister.LinkControl, 0x0040);
        Assert.Equal(0x0040u, dom0.Xen.Pci[Nic].Read(NicRegister.LinkControl));
        await next.Device(0).WriteAsync(Register.Command, CommandBits.IntxDisable);
        Assert.Equal(CommandBits.IntxDisable, dom0.Xen.Pci[Device].Read(Register.Command));
        await next.Device(0).WriteAsync(Unruled, 0xABCD);
        Assert.Equal(0xABCDu, dom0.Xen.Pci[Device].Read(Unruled));
    }

    private static PciFunctionDescription SoftDevice() =>
        new PciFunctionDescription(Device, vendor: 0x1234, device: 0x0019, classCode: 0xFF0000)
            .Register(Unruled.Offset, 4, 0, writable: 0xFFFF_FFFF);

    private static BackendSettings WithQuirk(string text)
    {
        Assert.Null(ConfigQuirk.TryParse(text, out var quirk));
        return TestDom0.Settings with { Devices = new DevicePolicies { Quirks = [quirk!] } };
    }
}
