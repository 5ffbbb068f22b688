using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests.Machine;

public class QemuDeviceTests
{
    [Fact]
    public void Devices_take_the_slots_from_10_upwards()
    {
        var devices = QemuDevice.Place(["e1000e", "edu"]);
        Assert.Equal(["0000:00:10.0", "0000:00:11.0"], devices.Select(device => device.Bdf));
        Assert.Equal(["-device", "edu,id=dev1,bus=pcie.0,addr=11"], devices[1].Arguments);
    }

    [Fact]
    public void Properties_follow_after_colons() =>
        Assert.Equal(["-device", "edu,id=dev0,dma_mask=0xff,bus=pcie.0,addr=10"], QemuDevice.Place(["edu:dma_mask=0xff"])[0].Arguments);

    [Fact]
    public void A_device_behind_a_root_port_is_alone_on_its_bus()
    {
        var devices = QemuDevice.Place(["edu", "e1000e:root-port", "nvme:root-port"]);
        Assert.Equal(["0000:00:10.0", "0000:01:00.0", "0000:02:00.0"], devices.Select(device => device.Bdf));
        Assert.Contains("e1000e,id=dev1,bus=rp1,netdev=net1", devices[1].Arguments);
    }

    [Fact]
    public void An_address_of_ones_own_makes_functions_of_one_device()
    {
        var devices = QemuDevice.Place(["e1000e:addr=10.0:multifunction=on", "e1000e:addr=10.1"]);
        Assert.Equal(["0000:00:10.0", "0000:00:10.1"], devices.Select(device => device.Bdf));
    }

    [Theory]
    [InlineData("nvme", "drive=drive0")]
    [InlineData("virtio-blk-pci", "drive=drive0")]
    [InlineData("virtio-blk-pci-non-transitional", "drive=drive0")]
    [InlineData("virtio-rng-pci:aer=on", "rng=rng0")]
    [InlineData("virtio-crypto-pci", "cryptodev=crypto0")]
    [InlineData("ivshmem-plain", "memdev=memory0")]
    [InlineData("e1000e", "netdev=net0")]
    [InlineData("virtio-net-pci-non-transitional", "netdev=net0")]
    [InlineData("ne2k_pci", "netdev=net0")]
    public void Devices_that_need_a_backend_get_one(string specification, string property) =>
        Assert.Contains(property, QemuDevice.Place([specification])[0].Arguments[^1]);

    [Theory]
    [InlineData(":aer=on", "no name before the colon")]
    [InlineData("edu:addr=20.0", "slot 0-1f")]
    [InlineData("edu:addr=10.8", "function 0-7")]
    public void What_cannot_be_placed_is_refused(string specification, string message) =>
        Assert.Contains(message, Assert.Throws<LabException>(() => QemuDevice.Place([specification])).Message);
}
