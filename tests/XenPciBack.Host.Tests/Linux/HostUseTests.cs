using XenPciBack.Host.Linux;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>What the host would miss if a device were taken from it.</summary>
public sealed class HostUseTests : IDisposable
{
    private const string Port = "0000:00:1c.0", Card = "0000:03:00.0";
    private const string Devices = "/sys/devices/pci0000:00/0000:00:1c.0";

    private readonly ScratchRoot _root = new ScratchRoot()
        .With($"{Devices}/vendor", "0x8086\n").With($"{Devices}/{Card}/vendor", "0x8086\n")
        .WithLink($"/sys/bus/pci/devices/{Port}", "../../../devices/pci0000:00/0000:00:1c.0")
        .WithLink($"/sys/bus/pci/devices/{Card}", $"../../../devices/pci0000:00/0000:00:1c.0/{Card}")
        .With("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        .With("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n")
        .With("/proc/self/mountinfo", "21 1 0:19 / /proc rw - proc proc rw\n");

    public void Dispose() => _root.Dispose();

    [Fact]
    public void A_device_the_host_does_not_use_is_not_missed()
    {
        WithDisk("nvme0", "nvme0n1", "259:0");
        WithNetworkCard("eth0");
        Assert.Empty(UseOf(Card));
        Assert.Empty(UseOf("0000:04:00.0"));
    }

    [Fact]
    public void A_disk_that_is_mounted_is()
    {
        WithDisk("nvme0", "nvme0n1", "259:0", partition: ("nvme0n1p2", "259:2"));
        _root.With("/proc/self/mountinfo", "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n");
        Assert.Equal(["/ is mounted from nvme0n1p2"], UseOf(Card));
        // And so is the port above it.
        Assert.Equal(["/ is mounted from nvme0n1p2"], UseOf(Port));
    }

    [Fact]
    public void A_volume_on_top_of_the_disk_counts_as_the_disk()
    {
        WithDisk("nvme0", "nvme0n1", "259:0");
        _root.With("/sys/devices/virtual/block/md0/dev", "9:0\n").With("/sys/devices/virtual/block/md0/slaves/nvme0n1", "").WithLink("/sys/class/block/md0", "../../devices/virtual/block/md0")
            .With("/sys/devices/virtual/block/dm-0/dev", "254:0\n").With("/sys/devices/virtual/block/dm-0/slaves/md0", "").WithLink("/sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
            .With("/proc/self/mountinfo", "22 1 254:0 / /srv rw - xfs /dev/mapper/vg-srv rw\n");
        Assert.Equal(["/srv is mounted from dm-0"], UseOf(Card));
    }

    [Fact]
    public void A_file_system_with_a_number_of_its_own_is_known_by_its_source()
    {
        WithDisk("nvme0", "nvme0n1", "259:0");
        _root.With("/dev/nvme0n1", "").With("/proc/self/mountinfo", "22 1 0:31 / /home rw - btrfs /dev/nvme0n1 rw\n");
        Assert.Equal(["/home is mounted from nvme0n1"], UseOf(Card));
    }

    [Fact]
    public void Swap_space_is()
    {
        WithDisk("nvme0", "nvme0n1", "259:0");
        _root.With("/dev/dm-3", "").With("/dev/nvme0n1", "").With("/proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1 partition 1 0 -2\n");
        Assert.Equal(["nvme0n1 is swap space"], UseOf(Card));
    }

    [Theory]
    [InlineData("eth0", "the default route leads through eth0"), InlineData("xenbr0", "the default route leads through xenbr0, and that through eth0")]
    public void The_card_of_the_default_route_is_also_behind_a_bridge(string route, string use)
    {
        WithNetworkCard("eth0");
        _root.With("/sys/devices/virtual/net/xenbr0/lower_eth0", "").WithLink("/sys/class/net/xenbr0", "../../devices/virtual/net/xenbr0")
            .With("/proc/net/route", $"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n{route}\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        Assert.Equal([use], UseOf(Card));
    }

    [Fact]
    public void The_card_of_the_default_route_is_behind_a_bridge_over_a_bond()
    {
        WithNetworkCard("eth0");
        _root.With("/sys/devices/virtual/net/xenbr0/lower_bond0", "").WithLink("/sys/class/net/xenbr0", "../../devices/virtual/net/xenbr0")
            .With("/sys/devices/virtual/net/bond0/lower_eth0", "").WithLink("/sys/class/net/bond0", "../../devices/virtual/net/bond0")
            .With("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nxenbr0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        Assert.Equal(["the default route leads through xenbr0, and that through eth0"], UseOf(Card));
    }

    [Fact]
    public void The_default_route_of_the_new_internet_protocol_counts_as_well()
    {
        WithNetworkCard("eth0");
        _root.With("/proc/net/ipv6_route", """
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000005 00000000 00000003     eth0
            """);
        Assert.Equal(["the default route leads through eth0"], UseOf(Card));
    }

    [Fact]
    public void The_screen_the_host_has_booted_on_is()
    {
        _root.With($"{Devices}/{Card}/boot_vga", "1\n");
        Assert.Equal(["the host has booted on its screen"], UseOf(Card));
        // Every graphics card has the file.
        _root.With($"{Devices}/{Card}/boot_vga", "0\n");
        Assert.Empty(UseOf(Card));
    }

    private IReadOnlyList<string> UseOf(string bdf) => new HostUse(_root.Path).Of(HostBdf.Parse(bdf));

    private void WithDisk(string controller, string disk, string number, (string Name, string Number)? partition = null)
    {
        var directory = $"{Devices}/{Card}/nvme/{controller}/{disk}";
        _root.With($"{directory}/dev", $"{number}\n").WithLink($"/sys/class/block/{disk}", $"../../..{directory}".Replace("../../../sys/", "../../", StringComparison.Ordinal));
        if (partition is var (name, itsNumber))
            _root.With($"{directory}/{name}/dev", $"{itsNumber}\n").WithLink($"/sys/class/block/{name}", $"../../..{directory}/{name}".Replace("../../../sys/", "../../", StringComparison.Ordinal));
    }

    private void WithNetworkCard(string name) =>
        _root.With($"{Devices}/{Card}/net/{name}/mtu", "1500\n").WithLink($"/sys/class/net/{name}", $"../../devices/pci0000:00/0000:00:1c.0/{Card}/net/{name}");
}
