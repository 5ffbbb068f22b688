using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class GuestTimesTests
{
    [Fact]
    public void Each_line_is_what_was_timed_and_its_nanoseconds()
    {
        var times = GuestTimes.Parse("reads 3451234567\nempty 61234567\n");
        Assert.Equal((2, 3_451_234_567, 61_234_567), (times.Count, times["reads"], times["empty"]));
    }

    [Fact]
    public void A_line_that_is_no_time_is_shown()
    {
        var failure = Assert.Throws<LabException>(() => GuestTimes.Parse("/sys/x/config, read 17: EIO"));
        Assert.Contains("read 17", failure.Message, StringComparison.Ordinal);
    }
}
