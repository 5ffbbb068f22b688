using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>Some descriptors are kept for the guests that are served.</summary>
public class FileDescriptorsTests
{
    [Fact]
    public void A_process_far_from_its_limit_may_have_more() => Assert.Null(FileDescriptors.Objection);

    [Theory]
    [InlineData(960, null)]
    [InlineData(961, "this daemon has 961 of at most 1024 file descriptors open, and keeps 64 for the guests it serves; raise the limit (LimitNOFILE in its unit, or prlimit --nofile)")]
    public void The_last_64_are_kept(long used, string? objection) => Assert.Equal(objection, FileDescriptors.Objecting(used, 1024));

    [Fact]
    public void No_limit_is_no_objection() => Assert.Null(FileDescriptors.Objecting(100_000, long.MaxValue));
}
