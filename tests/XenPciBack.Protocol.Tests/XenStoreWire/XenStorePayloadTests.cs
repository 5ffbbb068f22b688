using System.Text;
using CsCheck;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Protocol.Tests.XenStoreWire;

public sealed class XenStorePayloadTests
{
    [Fact]
    public void Strings_each_end_in_one_NUL() =>
        Assert.Equal("/a\0token\0\0"u8.ToArray(), XenStorePayload.Strings("/a", "token", ""));

    [Fact]
    public void The_value_of_a_WRITE_ends_in_none() =>
        Assert.Equal("/a\0value"u8.ToArray(), XenStorePayload.PathAndValue(new("/a"), "value"));

    [Theory]
    [InlineData("", new string[0])]
    [InlineData("\0", new[] { "" })]
    [InlineData("one\0two\0", new[] { "one", "two" })]
    [InlineData("7\0one\0\0", new[] { "7", "one", "" })]
    public void Strings_are_split_at_their_NULs(string payload, string[] expected)
    {
        Assert.True(XenStorePayload.TrySplit(Encoding.Latin1.GetBytes(payload), out var strings));
        Assert.Equal(expected, strings);
    }

    [Theory]
    [InlineData("one")]
    [InlineData("one\0two")]
    public void A_last_string_without_NUL_is_no_string(string payload) =>
        Assert.False(XenStorePayload.TrySplit(Encoding.Latin1.GetBytes(payload), out _));

    [Fact]
    public void A_string_with_a_NUL_inside_is_refused() =>
        Assert.Throws<ArgumentException>(() => XenStorePayload.Strings("/a", "to\0ken"));

    [Theory]
    [InlineData("Ā")]
    [InlineData("€")]
    public void A_value_is_refused_rather_than_changed(string value) =>
        Assert.Throws<ArgumentException>(() => XenStorePayload.PathAndValue(new("/a"), value));

    [Fact]
    public void Any_bytes_survive_as_a_value() =>
        Gen.Byte.Array[0, 100].Sample(bytes =>
            XenStorePayload.PathAndValue(new("/a"), XenStorePayload.Text(bytes)).AsSpan(3).SequenceEqual(bytes));

    [Fact]
    public void Strings_split_into_what_they_were_built_from() =>
        Gen.String[Gen.Char['\x01', '\xff'], 0, 20].Array[0, 8].Sample(strings =>
            XenStorePayload.TrySplit(XenStorePayload.Strings(strings), out var split) && split.SequenceEqual(strings));
}
