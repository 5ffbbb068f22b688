using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>Cases 81 to 85: where a guest sees its devices.</summary>
public class SlotCases
{
    [Fact]
    public async Task Case_81_Functions_of_one_device_share_a_slot_under_their_own_numbers()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Sata, Smbus);
        Assert.Equal(["0000:00:00.00", "0000:00:01.02", "0000:00:01.03"], await PublishedAsync(dom0, guest));
        Assert.Equal(["0000:00:00.0", "0000:00:01.2", "0000:00:01.3"], Found(guest));
    }

    [Fact]
    public async Task Case_82_A_virtual_function_0_shares_its_slot_with_nobody()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var (zero, one) = (HostBdf.Parse("0000:06:10.0"), HostBdf.Parse("0000:06:10.1"));
        dom0.Xen.Pci.Plug(Nvme.At(zero).VirtualFunction());
        dom0.Xen.Pci.Plug(Nvme.At(one).VirtualFunction());
        var guest = await dom0.ConnectedGuestAsync("web", zero, one);
        Assert.Equal(["0000:00:00.00", "0000:00:01.01"], await PublishedAsync(dom0, guest));
    }

    [Fact]
    public async Task Case_83_A_slot_is_free_once_its_last_function_has_gone()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Sata, Smbus);
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Sata);
        Assert.Equal(["0000:00:00.03"], await PublishedAsync(dom0, guest));
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Nic);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(["0000:00:00.03", "0000:00:01.00"], await PublishedAsync(dom0, guest));

        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Smbus);
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(["0000:00:01.00", "0000:00:00.00"], await PublishedAsync(dom0, guest));
    }

    [Fact]
    public async Task Case_84_In_passthrough_mode_devices_are_where_they_are_and_each_bus_is_a_root_once()
    {
        await using var dom0 = await TestDom0.StartAsync(
            TestDom0.Settings with { Topologies = new Topologies(Topology.Passthrough) });
        var (bridge, below) = (HostBdf.Parse("0000:05:1c.0"), HostBdf.Parse("0000:07:00.0"));
        dom0.Xen.Pci.Plug(RedHatPciBridge.At(bridge));
        dom0.Xen.Pci.Plug(QemuEdu.At(below).Behind(bridge));
        var guest = await dom0.ConnectedGuestAsync("web", Sata, Smbus, bridge, below, Edu);
        Assert.Equal(
            ["0000:00:1f.02", "0000:00:1f.03", "0000:05:1c.00", "0000:07:00.00", "0000:05:01.00"],
            await PublishedAsync(dom0, guest));
        Assert.Equal("0000:00", await dom0.ReadAsync(guest, "root-0"));
        Assert.Equal("0000:05", await dom0.ReadAsync(guest, "root-1"));
        Assert.Null(await dom0.ReadAsync(guest, "root-2"));
        Assert.Equal("2", await dom0.ReadAsync(guest, "root_num"));
        // No root of its own, and still answered.
        Assert.Equal(EduIds, await guest.DeviceAt("0000:07:00.0").ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task Case_84_A_guest_can_have_a_topology_of_its_own()
    {
        var topologies = new Topologies(Topology.Vpci)
        {
            ByGuest = new Dictionary<string, Topology> { ["as-is"] = Topology.Passthrough },
        };
        await using var dom0 = await TestDom0.StartAsync(TestDom0.Settings with { Topologies = topologies });
        var guest = await dom0.ConnectedGuestAsync("as-is", Edu, Sata, Smbus);
        Assert.Equal(["0000:00:1f.2", "0000:00:1f.3", "0000:05:01.0"], Found(guest));
        Assert.Equal("0000:05", await dom0.ReadAsync(guest, "root-0"));
        Assert.Equal("0000:00", await dom0.ReadAsync(guest, "root-1"));
        Assert.Equal("2", await dom0.ReadAsync(guest, "root_num"));
        Assert.Equal(["0000:00:00.0"], Found(await dom0.ConnectedGuestAsync("other", Nic)));
    }

    [Fact]
    // Deviation: the kernel drops the bits above the seventh and reaches 0x08.
    public async Task Case_85_A_devfn_above_255_is_not_found()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        Assert.Equal(-1, (await guest.Frontend.ReadConfigAsync(0, 0, devFn: 0x108, 0, 4)).Error);
    }

    /// <summary>Where the backend says that the guest's devices are, in the toolstack's order.</summary>
    private static async Task<IReadOnlyList<string?>> PublishedAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        var count = int.Parse((await dom0.ReadAsync(guest, "num_devs"))!, CultureInfo.InvariantCulture);
        var addresses = new List<string?>();
        for (var i = 0; i < count; i++) addresses.Add(await dom0.ReadAsync(guest, $"vdev-{i}"));
        return addresses;
    }

    private static IEnumerable<string> Found(SimulatedGuest guest) =>
        guest.Frontend.Devices.Select(device => device.Address).Order();
}
