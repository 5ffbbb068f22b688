using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class SystemCallsTests
{
    private const string Histogram = """
        # event histogram
        #
        # trigger info: hist:keys=common_pid,id.syscall:vals=hitcount:sort=hitcount:size=8192 [active]
        #

        { common_pid:       1051, id: sys_futex                     [202] } hitcount:          7
        { common_pid:       1050, id: sys_pread64                   [ 17] } hitcount:       1025
        { common_pid:       1050, id: sys_clock_gettime             [228] } hitcount:       5120

        Totals:
            Hits: 6152
            Entries: 3
            Dropped: 0
        """;

    [Fact]
    public void A_histogram_tells_who_made_which_call_how_often() => Assert.Equal(
        [new(1051, "futex", 7), new(1050, "pread64", 1025), new(1050, "clock_gettime", 5120)],
        SystemCalls.Parse(Histogram));

    [Fact]
    public void A_histogram_that_had_no_room_for_everything_is_refused() =>
        Assert.Throws<LabException>(() => SystemCalls.Parse(Histogram.Replace("Dropped: 0", "Dropped: 3")));

    [Fact]
    public void Text_that_is_no_histogram_is_shown()
    {
        var failure = Assert.Throws<LabException>(() => SystemCalls.Parse("cat: hist: No such file"));
        Assert.Contains("No such file", failure.Message, StringComparison.Ordinal);
    }
}
