using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Backend.Tests;

/// <summary>What an administrator allows, by the toolstack, the host's switches or the settings, is what the guest can do.</summary>
public class PolicyTests
{
    [Fact]
    public async Task A_register_without_a_rule_is_closed_by_default()
    {
        await using var dom0 = await TestDom0.StartAsync();
        Assert.False(await CanWriteAsync(dom0, await dom0.ConnectedGuestAsync("web", Nic)));
    }

    [Fact]
    public async Task The_toolstacks_permissive_opens_the_device_for_that_guest()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], frontend: null, PciDeviceOptions.Permissive);
        Assert.True(await CanWriteAsync(dom0, guest));
        await dom0.Xen.DestroyGuestAsync(guest);
        Assert.False(await CanWriteAsync(dom0, await dom0.ConnectedGuestAsync("next", Nic)));
    }

    [Fact]
    public async Task The_hosts_own_switch_opens_the_device_for_every_guest()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.SetPolicy(Nic, new ConfigPolicy(Permissive: true));
        Assert.True(await CanWriteAsync(dom0, await dom0.ConnectedGuestAsync("web", Nic)));
    }

    public static TheoryData<DevicePolicies> Opening =>
    [
        new DevicePolicies(Permissive: true),
        new DevicePolicies
        {
            ByDevice = ImmutableDictionary<HostBdf, ConfigPolicy>.Empty.Add(Nic, new ConfigPolicy(Permissive: true)),
        },
        new DevicePolicies { Quirks = [new ConfigQuirk(Nic, NicRegister.LinkControl.Offset, 2, 0xFFFF)] },
    ];

    [Theory]
    [MemberData(nameof(Opening))]
    public async Task The_settings_open_everything_or_a_device_or_a_register(DevicePolicies policies)
    {
        await using var dom0 = await TestDom0.StartAsync(TestDom0.Settings with { Devices = policies });
        Assert.True(await CanWriteAsync(dom0, await dom0.ConnectedGuestAsync("web", Nic)));
    }

    [Fact]
    public async Task A_stub_domain_may_switch_message_interrupts_where_the_administrator_allows_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        Assert.Equal(-3, (await guest.Device(0).TryWriteAsync(NicRegister.MsixControl, 0x8004)).Error);
        await dom0.Xen.DestroyGuestAsync(guest);

        dom0.Xen.Pci.SetPolicy(Nic, new ConfigPolicy(AllowInterruptControl: true));
        guest = await dom0.ConnectedGuestAsync("web", Nic);
        var before = await guest.Device(0).ReadAsync(NicRegister.MsixControl);
        await guest.Device(0).WriteAsync(NicRegister.MsixControl, before | 0x8000);
        Assert.Equal(before | 0x8000, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl));
        Assert.Equal(0, dom0.Xen.Pirqs.Mapped);
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(0u, () => dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl) & 0x8000);
    }

    [Fact]
    public async Task A_device_that_shares_its_line_with_the_host_is_refused_unless_it_has_message_interrupts()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var (card, nic) = (Spare, HostBdf.Parse("0000:07:00.0"));
        dom0.Xen.Pci.Plug(Ich9.Smbus(card).SharingItsLineWith("eth0"));
        dom0.Xen.Pci.Plug(Intel82574.At(nic).SharingItsLineWith("eth0"));
        var refused = await dom0.Xen.CreateGuestAsync("web", [card]);
        await Eventually.IsTrueAsync(async () => await dom0.ReadErrorAsync(refused) is { } error
            && error.StartsWith($"22 {card}: it shares interrupt line", StringComparison.Ordinal));

        var guest = await dom0.ConnectedGuestAsync("db", nic);
        await guest.Device(0).WriteAsync(Register.Command, 0x0007);
        Assert.Equal(0x0407u, dom0.Xen.Pci[nic].Read(Register.Command));
    }

    [Fact]
    public async Task An_hvm_guests_directory_is_left_alone_and_its_device_model_keeps_the_devices()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var id = new DomainId(77);
        dom0.Xen.XenStored.IntroduceDomain(id.Value);
        await dom0.Xen.Toolstack.CreateDomainAsync(id, "windows", "hvm");
        await dom0.Xen.Toolstack.AddAtCreationAsync(id, Nic);
        await dom0.ConnectedGuestAsync("web", Edu);
        Assert.Equal("1", await dom0.Store.ReadAsync(SimulatedToolstack.BackendOf(id) / "state"));
        Assert.Equal(1, dom0.Xen.Pci.OpenFunctions);
    }

    private static async Task<bool> CanWriteAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        var wanted = dom0.Xen.Pci[Nic].Read(NicRegister.LinkControl) ^ 0x0040u;
        await guest.Device(0).WriteAsync(NicRegister.LinkControl, wanted);
        return dom0.Xen.Pci[Nic].Read(NicRegister.LinkControl) == wanted;
    }
}
