using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class DataPlaneCostTests
{
    private static readonly ThreadTime[][] Rounds =
    [
        [new(70, "main", 900, 0), new(71, "xen-evtchn", 600, 200)],
        [new(71, "xen-evtchn", 500, 300)],
    ];

    private static readonly SystemCallCount[] Calls =
    [
        new(71, "read", 100), new(71, "ioctl", 250), new(70, "read", 50), new(72, "futex", 150), new(71, "read", 300),
        new(71, "close", 250),
    ];

    private static DataPlaneCost Cost => DataPlaneCost.Of(Rounds, 1000, Calls, readsWithCalls: 100);

    [Fact]
    public void The_thread_that_worked_most_in_all_rounds_is_meant() => Assert.Equal("xen-evtchn", Cost.Thread);

    [Fact]
    public void Its_user_and_system_time_are_microseconds_for_each_read_of_each_round()
    {
        Assert.Equal([600, 500], Cost.User);
        Assert.Equal([200, 300], Cost.System);
    }

    [Fact]
    public void Its_calls_for_each_read_are_summed_by_name_the_most_frequent_first() =>
        Assert.Equal([new("read", 4), new("close", 2.5), new("ioctl", 2.5)], Cost.Calls);

    [Fact]
    public void The_calls_of_all_other_threads_stand_apart() =>
        Assert.Equal([new("futex", 1.5), new("read", 0.5)], Cost.OtherCalls);

    [Fact]
    public void A_process_without_threads_has_ended()
    {
        var failure = Assert.Throws<LabException>(() => DataPlaneCost.Of([[]], 1000, [], readsWithCalls: 100));
        Assert.Contains("has ended", failure.Message, StringComparison.Ordinal);
    }
}
