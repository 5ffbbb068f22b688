using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 81 to 85: where a guest sees its devices.</summary>
public class SlotCases : CaseTest
{
    [Fact]
    public async Task Case_81_Functions_of_one_device_share_a_slot_under_their_own_numbers()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Sata, Smbus);
        Assert.Equal(["0000:00:00.00", "0000:00:01.02", "0000:00:01.03"], await VirtualAddressesAsync(guest, count: 3));
    }

    [Fact]
    public async Task Case_82_A_virtual_function_0_shares_its_slot_with_nobody()
    {
        var (zero, one) = (HostBdf.Parse("0000:06:10.0"), HostBdf.Parse("0000:06:10.1"));
        Xen.Pci.Plug(Nvme.At(zero).VirtualFunction());
        Xen.Pci.Plug(Nvme.At(one).VirtualFunction());
        var guest = await ConnectedGuestAsync("web", zero, one);
        Assert.Equal(["0000:00:00.00", "0000:00:01.01"], await VirtualAddressesAsync(guest, count: 2));
    }

    [Fact]
    public async Task Case_83_A_slot_is_free_once_its_last_function_has_gone()
    {
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedGuestAsync("web", Sata, Smbus);
        await Xen.Toolstack.DetachAsync(guest.Id, Sata);
        Assert.Equal(["0000:00:00.03"], await VirtualAddressesAsync(guest, count: 1));
        await Xen.Toolstack.AttachAsync(guest.Id, Nic);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(["0000:00:00.03", "0000:00:01.00"], await VirtualAddressesAsync(guest, count: 2));

        await Xen.Toolstack.DetachAsync(guest.Id, Smbus);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(["0000:00:01.00", "0000:00:00.00"], await VirtualAddressesAsync(guest, count: 2));
    }

    [Fact]
    public async Task Case_84_In_passthrough_mode_devices_are_where_they_are_and_each_bus_is_a_root_once()
    {
        var (bridge, below) = (HostBdf.Parse("0000:05:1c.0"), HostBdf.Parse("0000:07:00.0"));
        Xen.Pci.Plug(RedHatPciBridge.At(bridge));
        Xen.Pci.Plug(QemuEdu.At(below).Behind(bridge));
        await RestartBackendAsync(Settings with { Topologies = new Topologies(Topology.Passthrough) });
        var guest = await ConnectedGuestAsync("web", Sata, Smbus, bridge, below, Edu);
        Assert.Equal(["0000:00:1f.02", "0000:00:1f.03", "0000:05:1c.00", "0000:07:00.00", "0000:05:01.00"], await VirtualAddressesAsync(guest, count: 5));
        Assert.Equal(("0000:00", "0000:05", null, "2"), (await ReadAsync(guest, "root-0"), await ReadAsync(guest, "root-1"), await ReadAsync(guest, "root-2"), await ReadAsync(guest, "root_num")));
    }

    [Fact]
    // Deviation: the kernel drops the bits above the seventh and reaches 0x08.
    public async Task Case_85_A_devfn_above_255_is_not_found()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 0x08, 0, 4));
        Assert.Equal(-1, (await guest.Frontend.ReadConfigAsync(0, 0, 0x108, 0, 4)).Error);
    }

    private async Task<IEnumerable<string?>> VirtualAddressesAsync(SimulatedGuest guest, int count)
    {
        Assert.Equal($"{count}", await ReadAsync(guest, "num_devs"));
        var addresses = new List<string?>();
        for (var i = 0; i < count; i++) addresses.Add(await ReadAsync(guest, $"vdev-{i}"));
        return addresses;
    }
}
