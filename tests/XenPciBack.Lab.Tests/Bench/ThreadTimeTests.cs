using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class ThreadTimeTests
{
    private static string Stat(int id, string name, int user, int system) =>
        $"{id} ({name}) S 1 70 70 0 -1 4194304 21412 0 3 0 {user} {system} 0 0 20 -10 14 0 4711 2748779 16384 0 1 1\n";

    [Fact]
    public void User_and_system_time_are_in_milliseconds() => Assert.Equal(
        [new(71, "xen-evtchn", User: 1750, System: 1370), new(72, "aer", User: 0, System: 10)],
        ThreadTime.Parse(Stat(71, "xen-evtchn", 175, 137) + Stat(72, "aer", 0, 1)));

    [Fact]
    public void The_name_of_a_thread_may_hold_spaces_and_brackets() =>
        Assert.Equal([new(71, ".NET (x) y", User: 10, System: 20)], ThreadTime.Parse(Stat(71, ".NET (x) y", 1, 2)));

    [Fact]
    public void A_line_that_is_no_stat_is_shown()
    {
        var failure = Assert.Throws<LabException>(() => ThreadTime.Parse("71 (short) S 1 2"));
        Assert.Contains("71 (short) S", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Between_two_looks_a_thread_has_worked_the_difference_and_a_new_one_all_it_has()
    {
        ThreadTime[] before = [new(70, "main", 9000, 1000), new(71, "xen-evtchn", 500, 500), new(73, "ended", 10, 10)];
        ThreadTime[] after = [new(70, "main", 9010, 1000), new(71, "xen-evtchn", 1500, 800), new(72, "new", 200, 0)];
        Assert.Equal(
            [new(70, "main", 10, 0), new(71, "xen-evtchn", 1000, 300), new(72, "new", 200, 0)],
            ThreadTime.Between(before, after));
    }
}
