using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Protocol.Tests.ConfigSpace;

public class ConfigQuirkTests
{
    [Theory]
    [InlineData("00:19.0-E0:2:FF", "0000:00:19.0-0e0:2:000000ff")]
    [InlineData("ffff:ff:1f.7-fff:1:0", "ffff:ff:1f.7-fff:1:00000000")]
    [InlineData(" 1:3:0.0-10:4:ffffffff\n", "0001:03:00.0-010:4:ffffffff")]
    public void The_kernels_grammar_is_read(string text, string meaning)
    {
        Assert.Null(ConfigQuirk.TryParse(text, out var quirk));
        Assert.Equal(meaning, quirk!.ToString());
        Assert.Null(ConfigQuirk.TryParse(quirk.ToString(), out var again));
        Assert.Equal(quirk, again);
    }

    [Theory]
    [InlineData("00:19.0-E0:3:FF", "has size 3; expected 1, 2 or 4")]
    [InlineData("00:19.0-1000:2:FF", "has register 1000; expected 0 to fff")]
    [InlineData("00:19.0-E0:1:1FF", "has mask 1ff; expected no more than 2 digits for a size of 1")]
    [InlineData("00:20.0-E0:1:FF", "names no PCI address; expected domain 0 to ffff, bus 0 to ff, slot 0 to 1f, function 0 to 7")]
    [InlineData("00:19.0-E0:1", "is no quirk; expected [DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal")]
    [InlineData("00:19.0-E0:1:FF and more", "is no quirk; expected [DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal")]
    [InlineData("00:19.0-E0:1:100000000", "is no quirk; expected [DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal")]
    [InlineData("00:*.*-E0:1:FF", "is no quirk; expected [DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal")]
    public void What_the_kernel_refuses_is_refused_with_the_reason(string text, string reason)
    {
        Assert.Equal($"'{text}' {reason}", ConfigQuirk.TryParse(text, out var quirk));
        Assert.Null(quirk);
    }
}
