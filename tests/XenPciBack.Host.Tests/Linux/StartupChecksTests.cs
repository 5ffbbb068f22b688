using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

public sealed class StartupChecksTests : IDisposable
{
    private readonly ScratchRoot _root = ScratchRoot.GoodDom0();

    public void Dispose() => _root.Dispose();

    [Fact]
    public void A_prepared_dom0_has_no_problem_outside_the_libraries_and_the_user()
    {
        Assert.All(Problems(), p => Assert.True(p.Message.StartsWith("library ", StringComparison.Ordinal) || p.Message.StartsWith("running as user", StringComparison.Ordinal), p.Message));
    }

    [Theory]
    [InlineData("/sys/hypervisor/type", "kvm", 69, "not running on Xen")]
    [InlineData("/proc/xen/capabilities", "", 69, "not running in dom0")]
    [InlineData("/sys/kernel/security/lockdown", "none [integrity] confidentiality", 77, "locked down (integrity")]
    [InlineData("/sys/kernel/security/lockdown", "none integrity [confidentiality]", 77, "locked down (confidentiality")]
    public void A_wrong_value_is_reported_with_what_to_do(string file, string value, int exitCode, string message)
    {
        _root.With(file, value + "\n");
        AssertReported(exitCode, message);
    }

    [Theory]
    [InlineData("/sys/hypervisor/type", "not running on Xen")]
    [InlineData("/proc/xen/capabilities", "mount -t xenfs xenfs /proc/xen")]
    [InlineData("/dev/xen/gntdev", "modprobe xen-gntdev")]
    [InlineData("/dev/xen/evtchn", "modprobe xen-evtchn")]
    [InlineData("/dev/xen/privcmd", "modprobe xen-privcmd")]
    [InlineData("/sys/bus/pci/drivers/pciback", "modprobe xen-pciback")]
    public void A_missing_file_is_reported_with_what_to_do(string file, string message)
    {
        _root.Without(file);
        AssertReported(69, message);
    }

    [Fact]
    public void A_kernel_that_knows_no_lockdown_is_no_problem()
    {
        _root.Without("/sys/kernel/security/lockdown");
        Assert.DoesNotContain(Problems(), p => p.Message.Contains("lockdown", StringComparison.Ordinal));
    }

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        _root.Without("/dev/xen/evtchn").Without("/dev/xen/gntdev");
        AssertReported(69, "modprobe xen-evtchn");
        AssertReported(69, "modprobe xen-gntdev");
    }

    [Fact]
    public void Off_Xen_the_consequences_are_not_listed()
    {
        _root.Without("/sys/hypervisor/type").Without("/dev/xen/gntdev").Without("/sys/bus/pci/drivers/pciback");
        Assert.DoesNotContain(Problems(), p => p.Message.Contains("modprobe", StringComparison.Ordinal));
    }

    [Fact]
    public void A_missing_library_is_reported_with_its_package()
    {
        var problem = StartupChecks.Library("libxennosuch.so.1", "libxennosuch1");
        Assert.Equal("library libxennosuch.so.1 cannot be loaded. Install the Debian package libxennosuch1", problem?.Message);
        Assert.Equal(69, problem?.ExitCode);
    }

    [Fact]
    public void Only_root_may_run_it()
    {
        Assert.Null(StartupChecks.Root(effectiveUser: 0));
        Assert.Equal(77, StartupChecks.Root(effectiveUser: 1000)?.ExitCode);
    }

    private IReadOnlyList<StartupProblem> Problems() => new StartupChecks(_root.Path).Run();

    private void AssertReported(int exitCode, string message) =>
        Assert.Contains(Problems(), p => p.ExitCode == exitCode && p.Message.Contains(message, StringComparison.Ordinal));
}
