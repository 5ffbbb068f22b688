using XenPciBack.Lab.Bench;

namespace XenPciBack.Lab.Tests.Bench;

public class SpreadTests
{
    [Fact]
    public void The_median_of_an_odd_number_of_values_is_the_middle_one_in_order() =>
        Assert.Equal(new Spread(Median: 3, Lowest: 1, Highest: 10, Count: 3), Spread.Of([10, 1, 3]));

    [Fact]
    public void The_median_of_an_even_number_of_values_is_between_the_two_in_the_middle() =>
        Assert.Equal(new Spread(Median: 2.5, Lowest: 1, Highest: 10, Count: 4), Spread.Of([10, 1, 3, 2]));

    [Fact]
    public void Nothing_has_no_spread() => Assert.Throws<ArgumentException>(() => Spread.Of([]));
}
