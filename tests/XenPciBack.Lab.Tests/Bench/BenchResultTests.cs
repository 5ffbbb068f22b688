using System.Text.Json;
using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class BenchResultTests
{
    private static readonly BenchResult Result = new(
        new BenchSetting
        {
            Release = "bookworm", Xen = "4.17.6", Linux = "6.1.0-41-amd64", Clock = "xen",
            Device = "e1000e", ReadsPerRound = 1024, Commit = "98603af",
            Date = new DateTimeOffset(2026, 11, 28, 1, 12, 0, TimeSpan.Zero),
            Processors = 2, Load = 0.42, Qemu = "7.2.19",
        },
        "daemon",
        [
            new Measure("config read", "us", Kernel: [905, 840, 812], Ours: [3370.4, 3102, 4120]),
            new Measure("xl create to the guest's device seen", "ms", Kernel: [39_000], Ours: [48_000]),
        ],
        [new LostOperations("dom0 idle", [0, 0], [0, 0]), new LostOperations("6 busy loops in dom0", [0, 1], [2, 1])],
        new DataPlaneCost("xen-evtchn", User: [1750, 1740, 1760], System: [1370, 1371, 9.5],
            [
                new("clock_gettime", 5), new("ioctl", 1), new("poll", 1), new("pread64", 1), new("read", 1),
                new("write", 0.996), new("futex", 0.004),
            ],
            [new("futex", 1.25)]));

    private static string[] Table(BenchResult result)
    {
        var output = new StringWriter();
        BenchTable.Write(result, output);
        return output.ToString().Split('\n');
    }

    [Fact]
    public void The_ratio_is_that_of_the_medians_ours_over_the_kernels() =>
        Assert.Equal(3370.4 / 840, Result.Measures[0].Ratio);

    [Fact]
    public void The_table_has_the_ratio_of_each_measure_and_both_backends_medians_and_spreads() => Assert.Equal(
        [
            "                                      median     lowest    highest   times",
            "config read, us                                     ratio ours/kernel 4.01",
            "  kernel                                 840        812        905       3",
            "  daemon                               3,370      3,102      4,120       3",
            "xl create to the guest's device seen, ms            ratio ours/kernel 1.23",
            "  kernel                              39,000     39,000     39,000       1",
            "  daemon                              48,000     48,000     48,000       1",
        ],
        Table(Result)[8..15]);

    [Fact]
    public void The_table_says_where_and_with_what_it_was_measured() => Assert.Equal(
        [
            "lab bench: daemon beside the kernel's xen-pciback, alternating in one boot",
            "  release  bookworm: Xen 4.17.6, Linux 6.1.0-41-amd64 in dom0 and guest",
            "  clock    xen in dom0",
            "  device   e1000e; 1,024 four-byte reads a round",
            "  commit   98603af",
            "  date     2026-11-28 01:12 UTC",
            "  machine  2 processors, load 0.42, QEMU 7.2.19 without KVM",
        ],
        Table(Result)[..7]);

    [Fact]
    public void The_table_counts_lost_operations() =>
        Assert.Contains("  6 busy loops in dom0            kernel 1, daemon 3", Table(Result));

    [Fact]
    public void The_table_tells_what_a_read_costs_the_daemon_and_leaves_out_what_hardly_happens() => Assert.Equal(
        [
            "per config read, in the daemon",
            "  processor time of thread xen-evtchn, us: user 1,750, system 1,370 (3 rounds)",
            "  its system calls: 10.00 in all, clock_gettime 5.00, ioctl 1.00, poll 1.00,",
            "    pread64 1.00, read 1.00, write 1.00",
            "  those of all other threads: 1.25 in all, futex 1.25",
        ],
        Table(Result)[^6..^1]);

    [Fact]
    public void No_line_of_the_table_is_longer_than_80_columns()
    {
        var many = Enumerable.Range(0, 20).Select(index => new CallsPerRead($"call{index}", index + 0.5)).ToList();
        var table = Table(Result with { DataPlane = Result.DataPlane! with { Calls = many } });
        Assert.All(table, line => Assert.InRange(line.Length, 0, 80));
    }

    [Fact]
    public void Without_a_daemon_there_is_no_cost_of_it() =>
        Assert.DoesNotContain("per config read, in the daemon", Table(Result with { DataPlane = null }));

    [Fact]
    public void The_JSON_has_every_value_of_every_round()
    {
        using var json = JsonDocument.Parse(Result.ToJson());
        var root = json.RootElement;
        var read = root.GetProperty("measures")[0];
        Assert.Equal([905, 840, 812], read.GetProperty("kernel").EnumerateArray().Select(value => value.GetDouble()));
        Assert.Equal(4.01, read.GetProperty("ratio").GetDouble(), precision: 2);
        Assert.Equal("98603af", root.GetProperty("setting").GetProperty("commit").GetString());
        var lost = root.GetProperty("lost")[1].GetProperty("kernel");
        Assert.Equal([0, 1], lost.EnumerateArray().Select(value => value.GetInt32()));
        var cost = root.GetProperty("dataPlane");
        Assert.Equal(9.5, cost.GetProperty("system")[2].GetDouble());
        Assert.Equal("clock_gettime", cost.GetProperty("calls")[0].GetProperty("name").GetString());
    }
}
