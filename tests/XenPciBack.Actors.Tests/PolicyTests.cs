using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Slots;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Actors.Tests;

/// <summary>What an administrator can allow, and where devices appear: from the toolstack, the host's switches and the settings to what the guest can do.</summary>
public class PolicyTests : BackendTest
{
    // The link control register of the NIC's PCI Express capability: a register without a rule.
    private const int LinkControl = 0xF0;

    [Fact]
    public async Task A_register_without_a_rule_is_closed_by_default() => Assert.False(await CanWriteAsync(await ConnectedGuestAsync("web", Nic)));

    [Fact]
    public async Task The_toolstacks_permissive_opens_the_device_for_that_guest()
    {
        var guest = await Xen.CreateGuestAsync("web", [Nic], deviceOptions: PciDeviceOptions.Permissive);
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.True(await CanWriteAsync(guest));
        await Xen.DestroyGuestAsync(guest);
        Assert.False(await CanWriteAsync(await ConnectedGuestAsync("next", Nic)));
    }

    [Fact]
    public async Task The_hosts_own_switch_opens_the_device_for_every_guest()
    {
        Xen.Pci.SetPolicy(Nic, new ConfigPolicy(Permissive: true));
        Assert.True(await CanWriteAsync(await ConnectedGuestAsync("web", Nic)));
    }

    [Fact]
    public async Task The_settings_open_a_device_a_register_or_everything()
    {
        await RestartBackendAsync(Settings with { Devices = new DevicePolicies(Permissive: true) });
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.True(await CanWriteAsync(guest));
        await Xen.DestroyGuestAsync(guest);

        var permissive = ImmutableDictionary<HostBdf, ConfigPolicy>.Empty.Add(Nic, new ConfigPolicy(Permissive: true));
        await RestartBackendAsync(Settings with { Devices = new DevicePolicies { ByDevice = permissive } });
        guest = await ConnectedGuestAsync("web", Nic);
        Assert.True(await CanWriteAsync(guest));
        await Xen.DestroyGuestAsync(guest);

        await RestartBackendAsync(Settings with { Devices = new DevicePolicies { Quirks = [new ConfigQuirk(Nic, LinkControl, 2, 0xFFFF)] } });
        Assert.True(await CanWriteAsync(await ConnectedGuestAsync("web", Nic)));
    }

    [Fact]
    public async Task A_stub_domain_may_switch_message_interrupts_where_the_administrator_allows_it()
    {
        const int control = 0xA2;
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal(-3, (await guest.Frontend.WriteConfigAsync(0, 0, 0, control, 2, 0x8004)).Error);
        await Xen.DestroyGuestAsync(guest);

        Xen.Pci.SetPolicy(Nic, new ConfigPolicy(AllowInterruptControl: true));
        guest = await ConnectedGuestAsync("web", Nic);
        var before = await ReadConfigAsync(guest, 0, control, 2);
        Assert.Equal(0, (await guest.Frontend.WriteConfigAsync(0, 0, 0, control, 2, before | 0x8000)).Error);
        Assert.Equal(before | 0x8000, Xen.Pci[Nic].Read(control, 2));
        Assert.Equal(0, Xen.Pirqs.Mapped);
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(0u, () => Xen.Pci[Nic].Read(control, 2) & 0x8000);
    }

    [Fact]
    public async Task A_device_whose_line_the_host_listens_on_is_refused_and_with_message_interrupts_given_without_its_line()
    {
        var (card, nic) = (HostBdf.Parse("0000:06:00.0"), HostBdf.Parse("0000:07:00.0"));
        Xen.Pci.Plug(Ich9.Smbus(card).SharingItsLineWith("eth0"));
        Xen.Pci.Plug(Intel82574.At(nic).SharingItsLineWith("eth0"));
        var refused = await Xen.CreateGuestAsync("web", [card]);
        await EventuallyAsync(true, async () => (await ReadErrorAsync(refused))?.StartsWith($"22 {card}: it shares interrupt line", StringComparison.Ordinal) == true);

        var guest = await ConnectedGuestAsync("db", nic);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0007);
        Assert.Equal(0x0407u, Xen.Pci[nic].Read(0x04, 2));
    }

    [Fact]
    public async Task In_passthrough_mode_a_guest_finds_its_devices_where_they_are_on_the_host()
    {
        await RestartBackendAsync(Settings with { Topologies = new Topologies(Topology.Vpci) { ByGuest = new Dictionary<string, Topology> { ["as-is"] = Topology.Passthrough } } });
        var guest = await ConnectedGuestAsync("as-is", Edu, Sata, Smbus);
        Assert.Equal(["0000:00:1f.2", "0000:00:1f.3", "0000:05:01.0"], guest.Frontend.Devices.Select(d => d.Address).Order());
        Assert.Equal(("0000:05", "0000:00", "2"), (await ReadAsync(guest, "root-0"), await ReadAsync(guest, "root-1"), await ReadAsync(guest, "root_num")));
        var next = await ConnectedGuestAsync("other", Nic);
        Assert.Equal(["0000:00:00.0"], next.Frontend.Devices.Select(d => d.Address));
    }

    [Fact]
    public async Task A_device_behind_a_bridge_of_the_guests_is_no_root_of_its_own()
    {
        var (bridge, below) = (HostBdf.Parse("0000:00:1c.0"), HostBdf.Parse("0000:07:00.0"));
        Xen.Pci.Plug(Ich9.Smbus(bridge).Bridge());
        Xen.Pci.Plug(Intel82574.At(below).Behind(bridge));
        await RestartBackendAsync(Settings with { Topologies = new Topologies(Topology.Passthrough) });
        var guest = await Xen.CreateGuestAsync("web", [bridge, below]);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(("0000:00", "1"), (await ReadAsync(guest, "root-0"), await ReadAsync(guest, "root_num")));
        Assert.Equal(0x10D3_8086u, (await guest.Frontend.ReadConfigAsync(0, 7, 0, 0, 4)).Value);
    }

    [Fact]
    public async Task An_hvm_guests_directory_is_left_alone_and_its_device_model_keeps_the_devices()
    {
        var id = new DomainId(77);
        Xen.XenStored.IntroduceDomain(id.Value);
        await Xen.Toolstack.CreateDomainAsync(id, "windows", "hvm");
        await Xen.Toolstack.AddAtCreationAsync(id, Nic);
        await ConnectedGuestAsync("web", Edu);
        Assert.Equal("1", await Store.ReadAsync(SimulatedToolstack.BackendOf(id) / "state"));
        Assert.Equal(1, Xen.Pci.OpenFunctions);
    }

    [Fact]
    public async Task A_mini_os_frontend_is_served()
    {
        var guest = await Xen.CreateGuestAsync("stub", [Nic], new FrontendOptions { SwitchesStateInTransaction = true, TakesAer = false });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.Equal("4", await ReadAsync(guest, "state"));
    }

    private async Task<bool> CanWriteAsync(SimulatedGuest guest)
    {
        var before = Xen.Pci[Nic].Read(LinkControl, 2);
        Assert.Equal(0, (await guest.Frontend.WriteConfigAsync(0, 0, 0, LinkControl, 2, before ^ 0x0040)).Error);
        return Xen.Pci[Nic].Read(LinkControl, 2) == (before ^ 0x0040u);
    }
}
