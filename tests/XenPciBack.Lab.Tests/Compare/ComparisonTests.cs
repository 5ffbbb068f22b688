using XenPciBack.Lab.Compare;

namespace XenPciBack.Lab.Tests.Compare;

public class ComparisonTests
{
    private static readonly byte[] Config = Convert.FromHexString("8680d310" + "03001000" + new string('0', 2 * 248));

    private static readonly Snapshot Reference = new()
    {
        BackendNodes = new() { ["/backend/state"] = "\"4\" (n0,rD)", ["/backend/vdev-0"] = "\"0000:00:00.00\" (n0,rD)" },
        FrontendNodes = new() { ["/frontend/event-channel"] = "\"8\" (nD,r0)" },
        Leftovers = "",
        LostAccesses = 0,
        Devices =
        [
            new DeviceSnapshot
            {
                Model = "e1000e", HostBdf = "0000:00:10.0", GuestBdf = "0000:00:00.0", Config = Config, Lspci = "00:00.0",
                Sweep = [ConfigSweep.Parse("r 2 4 0003"), ConfigSweep.Parse("w 2 4 ffff 0107")],
                ConfigAfterSweep = Config, HostConfigAfterSweep = Config, HostConfigBefore = Config, HostConfigAfterDestroy = Config,
            },
        ],
    };

    [Fact]
    public void Equal_snapshots_show_no_difference()
    {
        var (differences, text) = Compare(Reference);
        Assert.Equal(0, differences);
        Assert.Contains("256 bytes identical", text);
        Assert.Contains("1 reads identical", text);
        Assert.Contains("1 write/read-backs identical", text);
        Assert.EndsWith("No difference.", text.TrimEnd());
    }

    [Fact]
    public void A_different_read_back_names_register_size_and_both_values()
    {
        var (differences, text) = Compare(OtherDevice(device => device with { Sweep = [device.Sweep[0], ConfigSweep.Parse("w 2 4 ffff 0106")] }));
        Assert.Equal(1, differences);
        Assert.Contains("offset 004 (Command), size 2: kernel ffff written, 0107 read, daemon ffff written, 0106 read", text);
    }

    [Fact]
    public void A_different_byte_of_a_dump_is_named()
    {
        var other = (byte[])Config.Clone();
        other[0x3C] = 0x0A;
        Assert.Contains("offset 03c (Interrupt Line): kernel 00, daemon 0a", Compare(OtherDevice(device => device with { Config = other })).Text);
    }

    [Fact]
    public void A_host_device_left_changed_is_a_difference()
    {
        var changed = (byte[])Config.Clone();
        changed[4] = 7;
        Assert.Contains("offset 004 (Command): before 03, after 07",
            Compare(OtherDevice(device => device with { HostConfigAfterDestroy = changed })).Text);
    }

    [Fact]
    public void The_guests_own_choices_are_left_out_and_said()
    {
        var (differences, text) = Compare(Reference with { FrontendNodes = new() { ["/frontend/event-channel"] = "\"9\" (nD,r0)" } });
        Assert.Equal(0, differences);
        Assert.Contains("0 nodes identical (event-channel: the guest's choice, left out)", text);
    }

    [Fact]
    public void Missing_nodes_leftovers_and_lost_accesses_are_differences()
    {
        var (differences, text) = Compare(Reference with
        {
            BackendNodes = new() { ["/backend/state"] = "\"4\" (n0,rD)" }, Leftovers = "/local/domain/0/backend/pci/1/0/state = \"6\"\n", LostAccesses = 3,
        });
        Assert.Equal(3, differences);
        Assert.Contains("/backend/vdev-0: kernel \"0000:00:00.00\" (n0,rD), daemon absent", text);
        Assert.Contains("left: /local/domain/0/backend/pci/1/0/state", text);
        Assert.Contains("gave up 3 accesses", text);
    }

    private static Snapshot OtherDevice(Func<DeviceSnapshot, DeviceSnapshot> change) => Reference with { Devices = [change(Reference.Devices[0])] };

    private static (int Differences, string Text) Compare(Snapshot second)
    {
        var text = new StringWriter();
        return (Report.Write(new Comparison("kernel", Reference, "daemon", second).Sections(), text), text.ToString());
    }
}
