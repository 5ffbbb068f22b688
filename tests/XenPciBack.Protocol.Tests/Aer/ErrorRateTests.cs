using XenPciBack.Protocol.Aer;

namespace XenPciBack.Protocol.Tests.Aer;

public class ErrorRateTests
{
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    [Fact]
    public void Errors_of_one_window_add_up_and_the_next_begins_with_an_error()
    {
        var rate = ErrorRate.None.Add(1, TimeSpan.FromSeconds(5), Window).Add(2, TimeSpan.FromSeconds(64), Window);
        Assert.Equal(3, rate.Count);
        Assert.Equal(1, rate.Add(1, TimeSpan.FromSeconds(65), Window).Count);
    }

    [Fact]
    public void A_thousand_errors_are_a_handful_of_log_lines()
    {
        var (rate, lines) = (ErrorRate.None, 0);
        for (var i = 0; i < 1000; i++)
        {
            var next = rate.Add(1, TimeSpan.FromMilliseconds(i), Window);
            if (next.IsNews(rate)) lines++;
            rate = next;
        }
        Assert.Equal(4, lines);
        Assert.True(rate.Add(1, TimeSpan.FromMinutes(2), Window).IsNews(rate));
    }
}
