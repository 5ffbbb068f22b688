using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Daemon.Commands;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Hiding;
using GuestDevice = XenPciBack.Backend.Guests.GuestDevice;

namespace XenPciBack.Daemon.Tests;

/// <summary>Which devices are set aside for guests, and which the host keeps.</summary>
public sealed class HidingTests : IDisposable
{
    private const string Free = "0000:03:00.0", Screen = "0000:04:00.0", Hidden = "0000:05:00.0", Bridge = "0000:00:1c.0", Nobodys = "0000:06:00.0";

    private readonly ScratchRoot _root = new();
    private readonly List<string> _asked = [];
    private string? _fault;

    public HidingTests()
    {
        foreach (var (device, driver, classCode) in ((string, string?, string)[])[(Free, "e1000e", "0x020000"), (Screen, "i915", "0x030000"), (Hidden, "pciback", "0x020000"), (Bridge, "pcieport", "0x060400"), (Nobodys, null, "0x010802")])
            _root.WithDevice(device, driver, []).With($"/sys/bus/pci/devices/{device}/class", $"{classCode}\n");
        _root.With($"/sys/bus/pci/devices/{Screen}/boot_vga", "1\n").With("/proc/cmdline", "root=/dev/sda1 quiet\n");
    }

    public void Dispose() => _root.Dispose();

    [Fact]
    public async Task A_device_the_host_is_using_is_hidden_only_by_force()
    {
        Assert.Equal("the host is using it: the host has booted on its screen; to take it away all the same: --force", await HideAsync(Screen));
        Assert.Empty(_asked);
        Assert.Null(await HideAsync(Screen, isForced: true));
        Assert.Equal([$"hide {Screen}"], _asked);
    }

    [Fact]
    public async Task A_device_the_host_would_not_miss_is_hidden_unless_it_is_already()
    {
        Assert.Null(await HideAsync(Free));
        Assert.Null(await HideAsync(Hidden));
        Assert.Equal([$"hide {Free}"], _asked);
    }

    [Fact]
    public async Task Only_what_is_hidden_is_given_back()
    {
        Assert.Null(await UnhideAsync(Free));
        Assert.Empty(_asked);
        Assert.Null(await UnhideAsync(Hidden));
        Assert.Equal([$"unhide {Hidden}"], _asked);
    }

    [Fact]
    public async Task A_device_that_is_not_there_is_refused_without_asking_the_toolstack()
    {
        Assert.Equal("there is no such device", await HideAsync("0000:07:00.0", isForced: true));
        Assert.Equal("there is no such device", await UnhideAsync("0000:07:00.0"));
        Assert.Empty(_asked);
    }

    [Fact]
    public async Task What_the_toolstack_says_when_it_fails_is_the_refusal()
    {
        _fault = "xl said no";
        Assert.Equal((_fault, _fault), (await HideAsync(Free), await UnhideAsync(Hidden)));
    }

    [Fact]
    public async Task At_the_start_the_settings_and_the_kernels_command_line_name_what_is_hidden()
    {
        _root.With("/proc/cmdline", "root=/dev/sda1 xen-pciback.hide=(06:00.0) quiet\n");
        await AtStartAsync($"({Free})");
        Assert.Equal([$"hide {Free}", $"hide {Nobodys}"], _asked);
    }

    [Fact]
    public async Task At_the_start_nothing_is_taken_from_the_host_that_it_is_using_and_nothing_is_hidden_twice()
    {
        await AtStartAsync($"({Screen}) ({Hidden})");
        Assert.Empty(_asked);
    }

    [Fact]
    public async Task At_the_start_a_device_that_cannot_be_hidden_does_not_keep_the_next_one()
    {
        _fault = "xl said no";
        await AtStartAsync($"({Free}) ({Nobodys})");
        Assert.Equal([$"hide {Free}", $"hide {Nobodys}"], _asked);
    }

    [Fact]
    public void The_list_says_of_each_device_but_bridges_whose_it_is_and_what_the_host_does_with_it() => Assert.Equal(
        [
            $"{Free}  0200  8086:10d3  driver e1000e", $"{Screen}  0300  8086:10d3  driver i915; the host has booted on its screen",
            $"{Hidden}  0200  8086:10d3  hidden, for guests", $"{Nobodys}  0108  8086:10d3  no driver",
        ], Hiding.List([], []));

    [Fact]
    public void A_device_in_quarantine_is_listed_so_unless_a_guest_has_it()
    {
        var lost = new QuarantinedDevice(HostBdf.Parse(Hidden), new DomainId(5), DateTimeOffset.UnixEpoch, "fatal");
        Assert.Contains($"{Hidden}  0200  8086:10d3  in quarantine since 1970-01-01 00:00:00Z", Hiding.List([], [lost]));
        Assert.Contains($"{Hidden}  0200  8086:10d3  guest web (6)", Hiding.List([new GuestDevice(new BackendDirectory(DomainId.Zero, new DomainId(6), 0), "web", HostBdf.Parse(Hidden), null)], [lost]));
    }

    private Hiding Hiding => new(_root.Path, device => Ask("hide", device), device => Ask("unhide", device));

    private Task<string?> HideAsync(string device, bool isForced = false) => Hiding.HideAsync(HostBdf.Parse(device), isForced);

    private Task<string?> UnhideAsync(string device) => Hiding.UnhideAsync(HostBdf.Parse(device));

    private Task AtStartAsync(string patterns) => Hiding.AtStartAsync(HidePattern.Parse(patterns, out _));

    private Task<string?> Ask(string what, HostBdf device)
    {
        _asked.Add($"{what} {device}");
        return Task.FromResult(_fault);
    }
}
