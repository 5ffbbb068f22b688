namespace XenPciBack.Protocol.Tests;

public class BdfTests
{
    [Fact]
    public void Every_address_survives_its_own_text()
    {
        for (var bus = 0; bus < 256; bus++)
            for (var slot = 0; slot < 32; slot++)
                for (var function = 0; function < 8; function++)
                {
                    var host = new HostBdf(bus * 257, bus, slot, function);
                    Assert.Equal(host, HostBdf.Parse(host.ToString()));
                    var place = new VirtualBdf(0, bus, slot, function);
                    Assert.True(VirtualBdf.TryParse(place.ToNodeText(), out var again));
                    Assert.Equal(place, again);
                }
    }

    [Fact]
    public void The_node_text_has_a_two_digit_function_and_the_hosts_text_has_not()
    {
        Assert.Equal("0000:00:01.03", new VirtualBdf(0, 0, 1, 3).ToNodeText());
        Assert.Equal("0000:0a:1f.7", new HostBdf(0, 10, 31, 7).ToString());
    }

    [Theory]
    [InlineData(null), InlineData(""), InlineData("zz"), InlineData("03:00.0"), InlineData("0000:03:00"), InlineData("0000:03:20.0"), InlineData("0000:03:00.8")]
    [InlineData("0000:100:00.0"), InlineData("10000:03:00.0"), InlineData("0000:03:00.0.0"), InlineData("-001:03:00.0"), InlineData("0000:03:00.0\n"), InlineData("0000: 3:00.0")]
    public void Text_that_is_no_address_is_refused(string? text) => Assert.False(HostBdf.TryParse(text, out _));
}
