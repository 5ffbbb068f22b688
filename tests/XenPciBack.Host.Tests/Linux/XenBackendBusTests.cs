using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>New PCI backends are left to the daemon, all others to the kernel.</summary>
public sealed class XenBackendBusTests : IDisposable
{
    private const string Autoprobe = "/sys/bus/xen-backend/drivers_autoprobe", Probe = "/sys/bus/xen-backend/drivers_probe";
    private const string Rule = "/run/udev/rules.d/90-xenpciback.rules";

    private readonly ScratchRoot _root = ScratchRoot.GoodDom0().With(Autoprobe, "1\n").With(Probe, "").With("/sys/bus/xen-backend/devices/pci-5-0/nodename", "");
    private readonly List<string> _rulesAtReload = [];

    public void Dispose() => _root.Dispose();

    private XenBackendBus Bus(string? failure = null) => new(_root.Path, () =>
    {
        _rulesAtReload.Add(File.Exists(_root.Path + Rule) ? "rule" : "no rule");
        return Task.FromResult(failure);
    });

    private string Read(string path) => File.ReadAllText(_root.Path + path).Trim();

    [Fact]
    public async Task Udev_has_a_rule_for_the_other_kinds_before_the_kernel_stops_taking_them()
    {
        Assert.Null(await Bus().TakeAsync());
        Assert.Equal("0", Read(Autoprobe));
        Assert.Equal(["rule"], _rulesAtReload);
        Assert.Contains("""ENV{XENBUS_TYPE}!="pci", RUN+=""", Read(Rule), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Afterwards_all_is_as_before()
    {
        await Bus().TakeAsync();
        await Bus().GiveBackAsync();
        Assert.Equal("1", Read(Autoprobe));
        Assert.Equal(["rule", "no rule"], _rulesAtReload);
    }

    [Fact]
    public async Task The_next_daemon_puts_back_what_one_that_was_killed_has_changed()
    {
        await Bus().TakeAsync();
        var next = Bus();
        await next.TakeAsync();
        await next.GiveBackAsync();
        Assert.Equal("1", Read(Autoprobe));
    }

    [Fact]
    public async Task What_an_administrator_has_switched_off_stays_off()
    {
        _root.With(Autoprobe, "0\n");
        await Bus().TakeAsync();
        await Bus().GiveBackAsync();
        Assert.Equal("0", Read(Autoprobe));
        Assert.Empty(_rulesAtReload);
    }

    [Fact]
    public async Task A_backend_of_another_kind_that_came_in_between_is_given_to_its_driver_and_no_pci_backend_is()
    {
        _root.With("/sys/bus/xen-backend/devices/vif-5-0/nodename", "");
        await Bus().TakeAsync();
        Assert.Equal("vif-5-0", Read(Probe));
    }

    [Fact]
    public async Task A_backend_that_has_its_driver_is_left_alone()
    {
        _root.With("/sys/bus/xen-backend/devices/vif-5-0/driver/module", "");
        await Bus().TakeAsync();
        Assert.Equal("", Read(Probe));
    }

    [Fact]
    public async Task Without_udev_it_is_said_what_is_to_be_done_by_hand()
    {
        Assert.StartsWith("udevadm cannot be started; until udev knows", await Bus("udevadm cannot be started").TakeAsync(), StringComparison.Ordinal);
        Assert.Equal("0", Read(Autoprobe));
    }

    [Fact]
    public async Task A_switch_that_stays_as_it_is_keeps_the_daemon_from_serving()
    {
        _root.Without(Autoprobe).WithLink(Autoprobe, "/dev/null");
        var refusal = await Assert.ThrowsAsync<HostUnavailableException>(() => Bus().TakeAsync());
        Assert.Contains("the kernel's own PCI backend would take every new guest first", refusal.Message, StringComparison.Ordinal);
    }
}
