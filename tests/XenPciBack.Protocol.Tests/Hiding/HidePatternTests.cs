using XenPciBack.Protocol.Hiding;

namespace XenPciBack.Protocol.Tests.Hiding;

/// <summary>Which devices the kernel's own grammar means.</summary>
public class HidePatternTests
{
    [Theory]
    [InlineData("(0000:03:00.0)", 1), InlineData("(03:00.0)", 1), InlineData("(04:00.*)", 8), InlineData("(03:*.*)", 256), InlineData("(0000:03:00.0)(04:00.*)", 9), InlineData(" (03:00.0)  (04:00.1) ", 2), InlineData("", 0)]
    public void The_grammar_covers_so_many_functions(string text, int functions)
    {
        var patterns = HidePattern.Parse(text, out var fault);
        Assert.Null(fault);
        Assert.Equal(functions, Everything().Count(function => patterns.Any(pattern => pattern.Covers(function, []))));
    }

    [Theory]
    [InlineData("(03:00.0"), InlineData("03:00.0"), InlineData("(03:00)"), InlineData("(03:00.8)"), InlineData("(03:20.0)"), InlineData("(100:00.0)"), InlineData("(10000:00:00.0)"),
     InlineData("(03:*.0)"), InlineData("(0:0:0:0.0)"), InlineData("(03:00.0)x"), InlineData("(-1:00.0)"), InlineData("()")]
    public void What_it_does_not_allow_is_refused_with_the_text(string text)
    {
        Assert.Empty(HidePattern.Parse(text, out var fault));
        Assert.Contains("is no device to hide; expected (DDDD:BB:SS.F)", fault, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bridge_covers_what_is_below_it()
    {
        var pattern = HidePattern.Parse("(0001:00:1c.0)", out _).Single();
        Assert.True(pattern.Covers(HostBdf.Parse("0001:02:00.0"), [HostBdf.Parse("0001:00:1c.0")]));
        Assert.False(pattern.Covers(HostBdf.Parse("0000:00:1c.0"), []));
    }

    [Theory]
    [InlineData("quiet xen-pciback.hide=(03:00.0)(04:00.0) ro", "(03:00.0)(04:00.0)"), InlineData("xen_pciback.hide=(03:00.0)", "(03:00.0)"), InlineData("\"xen-pciback.hide=(03:00.0) (04:00.0)\" ro", "(03:00.0) (04:00.0)"),
     InlineData("xen-pciback.hide=(03:00.0) xen-pciback.hide=(04:00.0)", "(04:00.0)"), InlineData("xen-pciback.hidex=(03:00.0) ro", null), InlineData("", null)]
    public void It_is_found_on_the_kernels_command_line(string commandLine, string? value) => Assert.Equal(value, HidePattern.OnCommandLine(commandLine));

    [Theory]
    [InlineData("(0001:03:1f.7)"), InlineData("(0000:03:00.*)"), InlineData("(0000:03:*.*)")]
    public void It_reads_as_it_is_written(string text) => Assert.Equal(text, HidePattern.Parse(text, out _).Single().ToString());

    private static IEnumerable<HostBdf> Everything()
    {
        for (var bus = 0; bus < 8; bus++)
            for (var slot = 0; slot < 32; slot++)
                for (var function = 0; function < 8; function++)
                    yield return new HostBdf(0, (byte)bus, (byte)slot, (byte)function);
    }
}
