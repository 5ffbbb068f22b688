using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Hypervisor;

namespace XenPciBack.Simulation.Tests.Hypervisor;

public sealed class SimulatedGrantTableTests : IDisposable
{
    private static readonly DomainId Guest = new(3);

    private readonly GuestGrants _grants = new();
    private readonly GuestPage _page = new();
    private readonly SimulatedGrantTable _dom0;

    public SimulatedGrantTableTests() => _dom0 = new SimulatedGrantTable(_grants);

    public void Dispose() => _dom0.Dispose();

    [Fact]
    public void Both_sides_see_each_others_bytes()
    {
        using var mapping = _dom0.Map(Guest, _grants.Grant(Guest, _page));
        mapping.Page[7] = 1;
        _page.Bytes[4095] = 2;
        Assert.Equal((1, 2, 4096), (_page.Bytes[7], mapping.Page[4095], mapping.Page.Length));
    }

    [Theory]
    [InlineData(3, 0)]
    [InlineData(3, 99)]
    [InlineData(4, 8)]
    public void What_the_domain_has_not_granted_does_not_map(int domain, uint reference)
    {
        Assert.Equal(8u, _grants.Grant(Guest, _page).Value);
        var e = Assert.Throws<HostCallException>(() => _dom0.Map(new DomainId(domain), new GrantReference(reference)));
        Assert.Equal(Errnos.EINVAL, e.Errno);
        Assert.Equal(0, _grants.Mapped);
    }

    [Fact]
    public void A_revoked_grant_does_not_map_but_an_existing_mapping_stays()
    {
        var reference = _grants.Grant(Guest, _page);
        using var mapping = _dom0.Map(Guest, reference);
        _grants.Revoke(Guest, reference);
        Assert.Throws<HostCallException>(() => _dom0.Map(Guest, reference));
        mapping.Page[0] = 1;
        Assert.Equal(1, _page.Bytes[0]);
    }

    [Fact]
    public void The_end_of_a_domain_revokes_its_grants_and_no_others()
    {
        var own = _grants.Grant(Guest, _page);
        var other = _grants.Grant(new DomainId(4), new GuestPage());
        _grants.RevokeAll(Guest);
        Assert.Throws<HostCallException>(() => _dom0.Map(Guest, own));
        _dom0.Map(new DomainId(4), other).Dispose();
    }

    [Fact]
    public void Unmapping_twice_counts_once_and_the_page_is_out_of_reach()
    {
        var mapping = _dom0.Map(Guest, _grants.Grant(Guest, _page));
        Assert.Equal(1, _grants.Mapped);
        mapping.Dispose();
        mapping.Dispose();
        Assert.Equal(0, _grants.Mapped);
        Assert.Throws<ObjectDisposedException>(() => mapping.Page[0] = 1);
    }

    [Fact]
    public void The_end_of_the_process_unmaps_and_another_process_maps_again()
    {
        var reference = _grants.Grant(Guest, _page);
        _dom0.Map(Guest, reference);
        _dom0.Dispose();
        Assert.Equal(0, _grants.Mapped);
        using var next = new SimulatedGrantTable(_grants);
        next.Map(Guest, reference);
        Assert.Equal(1, _grants.Mapped);
    }
}
