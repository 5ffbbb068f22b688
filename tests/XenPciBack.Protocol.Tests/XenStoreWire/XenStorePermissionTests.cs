using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Protocol.Tests.XenStoreWire;

public sealed class XenStorePermissionTests
{
    [Theory]
    [InlineData("n0", XenStoreAccess.None, 0)]
    [InlineData("r5", XenStoreAccess.Read, 5)]
    [InlineData("w32751", XenStoreAccess.Write, 32751)]
    [InlineData("b65535", XenStoreAccess.Both, 65535)]
    public void An_entry_is_a_letter_and_a_domid(string text, XenStoreAccess access, int domid)
    {
        Assert.True(XenStorePermission.TryParse(text, out var permission));
        Assert.Equal(new XenStorePermission(access, domid), permission);
        Assert.Equal(text, permission.ToString());
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("r")]
    [InlineData("5")]
    [InlineData("x5")]
    [InlineData("R5")]
    [InlineData("r-1")]
    [InlineData("r+1")]
    [InlineData("r 1")]
    [InlineData("r0x1")]
    [InlineData("r65536")]
    public void Anything_else_is_none(string? text) => Assert.False(XenStorePermission.TryParse(text, out _));

    [Fact]
    public void A_list_is_written_with_commas()
    {
        Assert.Equal([new(XenStoreAccess.None, 0), new(XenStoreAccess.Read, 5)], XenStorePermission.ParseList("n0,r5"));
        Assert.Throws<FormatException>(() => XenStorePermission.ParseList("n0,"));
    }

    /// <summary>Numbers of xen/include/public/io/xs_wire.h; a renumbered member would speak another protocol.</summary>
    [Fact]
    public void Message_types_have_the_numbers_of_the_wire() =>
        Assert.Equal(
            "Control=0 Directory=1 Read=2 GetPerms=3 Watch=4 Unwatch=5 TransactionStart=6 TransactionEnd=7 Introduce=8 "
            + "Release=9 GetDomainPath=10 Write=11 Mkdir=12 Rm=13 SetPerms=14 WatchEvent=15 Error=16 "
            + "IsDomainIntroduced=17 Resume=18 SetTarget=19 ResetWatches=21 DirectoryPart=22 GetFeature=23 "
            + "SetFeature=24 GetQuota=25 SetQuota=26 Invalid=65535",
            string.Join(' ', Enum.GetValues<XenStoreMessageType>().Select(type => $"{type}={(uint)type}")));
}
