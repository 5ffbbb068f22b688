using CsCheck;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Protocol.Tests.XenStoreWire;

public sealed class XenStorePathTests
{
    [Theory]
    [InlineData("/")]
    [InlineData("/local/domain/0/backend/pci/5/0")]
    [InlineData("/libxl/pci/0000-03-00-0")]
    [InlineData("/under_score/@at")]
    [InlineData("device/pci/0")]
    [InlineData("@releaseDomain")]
    public void A_path_is_kept_as_written(string text)
    {
        Assert.True(XenStorePath.TryParse(text, out var path));
        Assert.Equal(text, path.Text);
        Assert.Equal(path, new XenStorePath(text));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("//")]
    [InlineData("/a/")]
    [InlineData("/a//b")]
    [InlineData("a/")]
    [InlineData("/0000:03:00.0")]
    [InlineData("/a+b")]
    [InlineData("/a b")]
    [InlineData("/a\0")]
    [InlineData("/ä")]
    public void What_xenstored_would_refuse_is_no_path(string? text)
    {
        Assert.False(XenStorePath.TryParse(text, out _));
        if (text is not null)
            Assert.Throws<ArgumentException>(() => new XenStorePath(text));
    }

    [Theory]
    [InlineData('/', XenStoreLimits.AbsolutePath)]
    [InlineData('a', XenStoreLimits.RelativePath)]
    public void The_longest_path_is_one_and_one_more_byte_is_too_long(char first, int limit)
    {
        Assert.True(XenStorePath.TryParse(first + new string('x', limit - 1), out _));
        Assert.False(XenStorePath.TryParse(first + new string('x', limit), out _));
    }

    [Fact]
    public void The_default_value_is_the_root()
    {
        Assert.Equal(XenStorePath.Root, new XenStorePath("/"));
        Assert.Equal(default, XenStorePath.Root);
        Assert.Equal("/", default(XenStorePath).ToString());
    }

    [Fact]
    public void Names_and_numbers_are_joined_by_slashes()
    {
        Assert.Equal("/local/domain/5/device/pci/0", (XenStorePath.DomainHome(5) / "device/pci" / 0).Text);
        Assert.Equal("/a", (XenStorePath.Root / "a").Text);
        Assert.Throws<ArgumentException>(() => XenStorePath.Root / "/a");
        Assert.Throws<ArgumentException>(() => XenStorePath.Root / "");
        Assert.Throws<ArgumentException>(() => XenStorePath.Root / "0000:03:00.0");
    }

    [Theory]
    [InlineData("/a/b", "/a", "b")]
    [InlineData("/a", "/", "a")]
    [InlineData("/", "/", "")]
    [InlineData("a/b", "a", "b")]
    [InlineData("a", "a", "a")]
    public void A_path_is_its_parent_and_a_name(string text, string parent, string name)
    {
        var path = new XenStorePath(text);
        Assert.Equal((parent, name), (path.Parent.Text, path.Name));
    }

    [Theory]
    [InlineData("/a/b", "/a", true)]
    [InlineData("/a", "/a", true)]
    [InlineData("/a", "/", true)]
    [InlineData("/", "/", true)]
    [InlineData("/ab", "/a", false)]
    [InlineData("/a", "/a/b", false)]
    [InlineData("/", "/a", false)]
    [InlineData("@releaseDomain", "/", false)]
    [InlineData("@releaseDomain", "@releaseDomain", true)]
    public void A_node_is_below_its_ancestors_only(string path, string ancestor, bool isBelow) =>
        Assert.Equal(isBelow, new XenStorePath(path).IsAtOrBelow(new(ancestor)));

    [Fact]
    public void Whatever_text_a_guest_sends_parsing_agrees_with_the_rules_one_by_one() =>
        Gen.String[Gen.OneOf(Gen.Char["/ab@-_0"], Gen.Char), 0, 12].Sample(text =>
            XenStorePath.TryParse(text, out _) == (
                text.Length > 0
                && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '@' or '/')
                && !text.Contains("//", StringComparison.Ordinal)
                && (text == "/" || text[^1] != '/')), iter: 20_000);
}
