using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Hiding;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 86 to 88: what the kernel's module takes from sysfs, and how long it holds.</summary>
public class ConfigurationCases : CaseTest
{
    private const int Command = 0x04, Unruled = 0xE0;
    private const uint IntxDisable = 0x400;

    private static readonly HostBdf Device = HostBdf.Parse("0000:00:19.0");

    [Theory]
    [InlineData("(0000:03:00.0)(04:00.*)", 9), InlineData("(03:*.*)", 256)]
    public void Case_86_Hidden_devices_are_named_in_the_kernels_grammar(string text, int functions)
    {
        var patterns = HidePattern.Parse(text, out var fault);
        Assert.Null(fault);
        Assert.Equal(functions, Enumerable.Range(0, 0x10000).Count(i => patterns.Any(pattern => pattern.Covers(new HostBdf(0, (byte)(i >> 8), (byte)(i >> 3 & 0x1F), (byte)(i & 7)), []))));
    }

    [Fact]
    public void Case_86_What_does_not_end_is_refused()
    {
        Assert.Empty(HidePattern.Parse("(03:00.0", out var fault));
        Assert.Contains("'(03:00.0' is no device to hide", fault, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Case_87_A_quirk_opens_a_register_of_its_device_in_full_whatever_its_mask()
    {
        Xen.Pci.Plug(SoftDevice());
        await UseQuirkAsync("00:19.0-E0:2:FF");
        var guest = await ConnectedGuestAsync("web", Device);
        Assert.Equal((0, 0), (await WriteRegisterAsync(guest, Unruled, 2, 0xABCD), await WriteRegisterAsync(guest, Unruled + 2, 2, 0xABCD)));
        Assert.Equal(0x0000_ABCDu, Xen.Pci[Device].Read(Unruled, 4));
    }

    [Theory]
    [InlineData("00:19.0-E0:3:FF", "size 3"), InlineData("00:19.0-1000:1:FF", "register 1000"), InlineData("00:19.0-E0:1:1FF", "mask 1ff")]
    public void Case_87_A_quirk_that_fits_no_register_is_refused(string text, string fault)
    {
        Assert.Contains(fault, ConfigQuirk.TryParse(text, out var quirk), StringComparison.Ordinal);
        Assert.Null(quirk);
    }

    [Fact]
    // Deviation: in the kernel interrupt control and quirks end with the guest, here they are there for the next one, as permissive is.
    public async Task Case_88_What_the_host_allows_a_device_it_allows_the_next_guest_too()
    {
        Xen.Pci.Plug(SoftDevice());
        Xen.Pci.SetPolicy(Nic, new ConfigPolicy(Permissive: true));
        Xen.Pci.SetPolicy(Device, new ConfigPolicy(AllowInterruptControl: true));
        await UseQuirkAsync("00:19.0-E0:2:FF");
        await Xen.DestroyGuestAsync(await ConnectedGuestAsync("web", Device, Nic));
        var next = await ConnectedGuestAsync("next", Device, Nic);

        const int linkControlOfNic = 0xF0;
        await next.Frontend.WriteConfigAsync(0, 0, 0x08, linkControlOfNic, 2, 0x0040);
        Assert.Equal(0x0040u, Xen.Pci[Nic].Read(linkControlOfNic, 2));
        await WriteRegisterAsync(next, Command, 2, IntxDisable);
        Assert.Equal(IntxDisable, Xen.Pci[Device].Read(Command, 2));
        await WriteRegisterAsync(next, Unruled, 2, 0xABCD);
        Assert.Equal(0xABCDu, Xen.Pci[Device].Read(Unruled, 2));
    }

    private static PciFunctionDescription SoftDevice() =>
        new PciFunctionDescription(Device, vendor: 0x1234, device: 0x0019, classCode: 0xFF0000).Register(Unruled, 4, 0, writable: 0xFFFF_FFFF);

    private Task UseQuirkAsync(string text)
    {
        Assert.Null(ConfigQuirk.TryParse(text, out var quirk));
        return RestartBackendAsync(Settings with { Devices = new DevicePolicies { Quirks = [quirk!] } });
    }
}
