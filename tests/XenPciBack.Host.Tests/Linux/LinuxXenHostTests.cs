using System.Runtime.InteropServices;
using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

public sealed class LinuxXenHostTests
{
    [Fact]
    public void Without_Xen_it_says_so_and_exits_with_69()
    {
        using var empty = new ScratchRoot();
        var e = Assert.Throws<HostUnavailableException>(() => LinuxXenHost.Open(empty.Path));
        Assert.StartsWith("not running on Xen", e.Message, StringComparison.Ordinal);
        Assert.Equal(69, e.ExitCode);
    }

    [LibrariesWithoutXenFact]
    public void A_library_that_finds_no_device_names_the_call_the_device_and_the_errno()
    {
        using var dom0 = ScratchRoot.GoodDom0();
        var e = Assert.Throws<HostUnavailableException>(() => LinuxXenHost.Open(dom0.Path));
        Assert.StartsWith("xengnttab_open failed for /dev/xen/gntdev: ENOENT", e.Message, StringComparison.Ordinal);
        Assert.Equal(71, e.ExitCode);
    }

    [LibrariesWithoutXenFact]
    public void Each_library_reports_its_own_device()
    {
        Assert.Contains("/dev/xen/evtchn: ENOENT", Assert.Throws<HostCallException>(() => XenEventChannels.Open()).Message, StringComparison.Ordinal);
        Assert.Contains("/dev/xen/privcmd: ENOENT", Assert.Throws<HostCallException>(() => XenHypervisor.Open()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_version_joins_number_and_extra_text() =>
        Assert.Equal("4.17.7", XenHypervisor.FormatVersion((4 << 16) | 17, ".7\0garbage"u8));

    [Fact]
    public void Pollfd_is_laid_out_as_the_kernel_expects()
    {
        Assert.Equal(8, Marshal.SizeOf<Interop.Libc.PollFd>());
        Assert.Equal(0, Marshal.OffsetOf<Interop.Libc.PollFd>("fd"));
        Assert.Equal(4, Marshal.OffsetOf<Interop.Libc.PollFd>("events"));
        Assert.Equal(6, Marshal.OffsetOf<Interop.Libc.PollFd>("revents"));
    }
}
