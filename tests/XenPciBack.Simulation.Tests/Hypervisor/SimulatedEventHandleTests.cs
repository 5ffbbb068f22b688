using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Hypervisor;

namespace XenPciBack.Simulation.Tests.Hypervisor;

/// <summary>The rules of /dev/xen/evtchn.</summary>
public sealed class SimulatedEventHandleTests : IDisposable
{
    private const int RingSize = 64;

    private static readonly DomainId Guest = new(3);

    private readonly GuestPorts _ports = new();
    private readonly SimulatedEventChannels _process;
    private readonly IEventHandle _handle;
    private readonly GuestPort _guestPort;

    public SimulatedEventHandleTests()
    {
        _process = new SimulatedEventChannels(_ports);
        _handle = _process.Open();
        _guestPort = _ports.Allocate(Guest);
    }

    public void Dispose() => _process.Dispose();

    private LocalPort Bind() => _handle.Bind(Guest, _guestPort.Number);

    /// <summary>What has an event now.</summary>
    private LocalPort[] Read()
    {
        var ports = new LocalPort[2 * RingSize];
        return ports[.._handle.Read(ports, wait: false)];
    }

    [Fact]
    public void A_fresh_binding_counts_as_an_event()
    {
        var port = Bind();
        Assert.Equal([port], Read());
        Assert.Empty(Read());
    }

    [Fact]
    public void A_port_stays_masked_until_unmasked_and_remembers_many_events_as_one()
    {
        var port = Bind();
        Read();
        _guestPort.Notify();
        _guestPort.Notify();
        Assert.Empty(Read());

        _handle.Unmask(port);
        Assert.Equal([port], Read());
        _handle.Unmask(port);
        Assert.Empty(Read());
    }

    [Fact]
    public void An_unmasked_port_delivers_at_once()
    {
        var port = Bind();
        Read();
        _handle.Unmask(port);
        _guestPort.Notify();
        Assert.Equal([port], Read());
    }

    [Fact]
    public async Task Notifying_wakes_the_guest_and_many_notifications_are_one_event()
    {
        var port = Bind();
        _handle.Notify(port);
        _handle.Notify(port);
        await _guestPort.WaitAsync(Eventually.Limit);
        Assert.False(_guestPort.TryTake());
    }

    [Theory]
    [InlineData(3, 99)]
    [InlineData(4, 10)]
    [InlineData(3, 0)]
    public void A_port_the_domain_has_not_allocated_does_not_bind(int domain, uint port)
    {
        Assert.Equal(10u, _guestPort.Number.Value);
        var e = Assert.Throws<HostCallException>(() => _handle.Bind(new DomainId(domain), new RemotePort(port)));
        Assert.Equal(Errnos.EINVAL, e.Errno);
    }

    [Fact]
    public void A_bound_port_does_not_bind_twice_and_binds_again_after_unbinding()
    {
        var first = Bind();
        Assert.Throws<HostCallException>(() => Bind());
        _handle.Unbind(first);
        _handle.Unbind(Bind());
        Assert.Equal(0, _ports.Bound);
    }

    [Fact]
    public void A_port_the_guest_has_closed_does_not_bind()
    {
        _guestPort.Close();
        Assert.Throws<HostCallException>(() => Bind());
    }

    [Fact]
    public void Events_to_an_end_that_is_not_bound_are_dropped()
    {
        _guestPort.Notify();
        var port = Bind();
        Read();
        _handle.Unmask(port);
        _guestPort.Close();
        _handle.Notify(port);
        _guestPort.Notify();
        Assert.False(_guestPort.TryTake());
        Assert.Empty(Read());
    }

    [Fact]
    public void An_event_of_a_port_that_was_unbound_is_still_read()
    {
        var port = Bind();
        _handle.Unbind(port);
        _guestPort.Notify();
        Assert.Equal([port], Read());
        Assert.Throws<HostCallException>(() => _handle.Notify(port));
        _handle.Unmask(port);
    }

    [Fact]
    public void The_ring_grows_with_the_ports_that_are_bound()
    {
        var bound = Enumerable.Range(0, RingSize + 1)
            .Select(_ => _handle.Bind(Guest, _ports.Allocate(Guest).Number)).ToList();
        Assert.Equal(bound, Read());
    }

    [Fact]
    public void Events_of_ports_that_were_unbound_overflow_the_ring_until_it_is_reset()
    {
        for (var i = 0; i < RingSize; i++) _handle.Unbind(_handle.Bind(Guest, _ports.Allocate(Guest).Number));
        var port = Bind();
        Assert.Equal(-1, _handle.Read(new LocalPort[1], wait: false));
        Assert.Equal(-1, _handle.Read(new LocalPort[1], wait: true));

        _handle.Reset();
        Assert.Empty(Read());
        // The event is lost, and the port masked.
        _guestPort.Notify();
        Assert.Empty(Read());
        _handle.Unmask(port);
        Assert.Equal([port], Read());
    }

    [Fact]
    public async Task A_reader_waits_for_an_event_or_is_woken()
    {
        var port = Bind();
        Read();
        _handle.Unmask(port);
        var waiting = Task.Run(() => _handle.Read(new LocalPort[1], wait: true));
        _guestPort.Notify();
        Assert.Equal(1, await waiting.WaitAsync(Eventually.Patience));

        waiting = Task.Run(() => _handle.Read(new LocalPort[1], wait: true));
        _handle.Wake();
        Assert.Equal(0, await waiting.WaitAsync(Eventually.Patience));
    }

    [Fact]
    public async Task The_end_of_the_process_unbinds_ends_the_reader_and_another_process_binds_again()
    {
        Bind();
        Read();
        var waiting = Task.Run(() => _handle.Read(new LocalPort[1], wait: true));
        _process.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(Eventually.Patience));
        Assert.Equal(0, _ports.Bound);
        Assert.Throws<ObjectDisposedException>(() => Bind());
        Assert.Throws<ObjectDisposedException>(() => _process.Open());

        using var next = new SimulatedEventChannels(_ports);
        next.Open().Bind(Guest, _guestPort.Number);
        Assert.Equal(1, _ports.Bound);
    }

    [Fact]
    public void Two_queues_of_one_process_share_nothing()
    {
        var port = Bind();
        var other = _process.Open();
        Assert.Equal(0, other.Read(new LocalPort[1], wait: false));
        Assert.Throws<HostCallException>(() => other.Notify(port));
        other.Dispose();
        Assert.Equal([port], Read());
    }
}
