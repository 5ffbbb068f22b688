using XenPciBack.Host.Linux;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>PIRQs of guests and the record of them, which has to say the truth after any end of the daemon.</summary>
public sealed class XenGuestPirqsTests : IDisposable
{
    private static readonly DomainId Guest = new(5), Other = new(6);
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private readonly string _root = Directory.CreateTempSubdirectory("xenpciback-").FullName;
    private readonly HashSet<(DomainId, Pirq)> _mapped = [];
    private int _refuseUnmap;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void What_one_daemon_maps_the_next_one_knows_in_the_same_order()
    {
        var map = Start().Open(Guest, Nic);
        Assert.Equal((0, 55), (map.MapMsix(0, 0xFEB40000, out var first), first.Value));
        Assert.Equal((0, 54), (map.MapMsix(1, 0xFEB40000, out var second), second.Value));
        Assert.Equal<Pirq>([first, second], Start().Open(Guest, Nic).Mapped);
    }

    [Fact]
    public void What_is_unmapped_is_off_the_record()
    {
        var map = Start().Open(Guest, Nic);
        map.MapMsi(out _);
        Assert.Equal(0, map.UnmapAll());
        Assert.Empty(_mapped);
        Assert.Empty(Directory.GetFiles($"{_root}/run/xenpciback/pirqs"));
        Assert.Empty(Start().Open(Guest, Nic).Mapped);
    }

    [Theory]
    [InlineData(Errnos.ESRCH), InlineData(Errnos.EINVAL)]
    public void A_domain_or_pirq_that_is_gone_counts_as_unmapped(int errno)
    {
        var map = Start().Open(Guest, Nic);
        map.MapMsi(out _);
        _refuseUnmap = errno;
        Assert.Equal(0, map.UnmapAll());
        Assert.Empty(map.Mapped);
    }

    [Fact]
    public void What_cannot_be_unmapped_stays_on_record_for_a_later_try()
    {
        var map = Start().Open(Guest, Nic);
        map.MapMsi(out var pirq);
        _refuseUnmap = Errnos.EBUSY;
        Assert.Equal(Errnos.EBUSY, map.UnmapAll());
        var later = Start().Open(Guest, Nic);
        Assert.Equal<Pirq>([pirq], later.Mapped);
        _refuseUnmap = 0;
        Assert.Equal(0, later.UnmapAll());
        Assert.Empty(_mapped);
    }

    [Fact]
    public void A_line_without_its_end_is_no_record_nor_is_any_other_text()
    {
        Start().Open(Guest, Nic).MapMsi(out var pirq);
        File.AppendAllText($"{_root}/run/xenpciback/pirqs/5-0000:03:00.0", "rubbish\n\n-1\n5");
        Assert.Equal<Pirq>([pirq], Start().Open(Guest, Nic).Mapped);
    }

    [Fact]
    public void A_device_that_has_a_new_guest_keeps_nothing_of_the_old_one()
    {
        Start().Open(Guest, Nic).MapMsi(out _);
        Start().Open(Other, Nic);
        Assert.Empty(_mapped);
    }

    [Fact]
    public void Guests_that_are_not_served_any_more_are_forgotten()
    {
        Start().Open(Guest, Nic).MapMsi(out _);
        Assert.Empty(Start().Forget(isServed: domain => domain == Guest));
        Assert.Single(_mapped);
        Assert.Equal([(Guest, Nic)], Start().Forget(isServed: _ => false));
        Assert.Empty(_mapped);
    }

    [Fact]
    public void Where_nothing_can_be_recorded_nothing_is_mapped_for_long()
    {
        var map = Start().Open(Guest, Nic);
        Directory.CreateDirectory($"{_root}/run/xenpciback/pirqs/5-0000:03:00.0");
        Assert.Equal(Errnos.EIO, map.MapMsi(out _));
        map.UnmapAll();
        Assert.Empty(_mapped);
    }

    private XenGuestPirqs Start() => new(
        (DomainId domain, HostBdf _, ushort _, ulong _, out Pirq pirq) =>
        {
            pirq = new Pirq(55 - _mapped.Count);
            _mapped.Add((domain, pirq));
            return 0;
        },
        (domain, pirq) =>
        {
            if (_refuseUnmap != Errnos.EBUSY) _mapped.Remove((domain, pirq));
            return _refuseUnmap;
        }, restore: _ => 0, _root);
}
