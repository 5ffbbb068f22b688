using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Hypervisor;

namespace XenPciBack.Simulation.Tests.Hypervisor;

public sealed class SimulatedEventChannelsTests : IDisposable
{
    private static readonly DomainId Guest = new(3);

    private readonly GuestPorts _ports = new();
    private readonly SimulatedEventChannels _dom0;
    private readonly GuestPort _guestPort;
    private readonly BlockingCollection<string> _events = [];

    public SimulatedEventChannelsTests()
    {
        _dom0 = new SimulatedEventChannels(_ports);
        _guestPort = _ports.Allocate(Guest);
    }

    public void Dispose()
    {
        _dom0.Dispose();
        _events.Dispose();
    }

    [Fact]
    public void A_fresh_binding_counts_as_an_event()
    {
        Bind();
        TakeEvent();
        AssertNoEvent();
    }

    [Fact]
    public void A_port_stays_masked_until_unmasked_and_remembers_many_events_as_one()
    {
        var channel = Bind();
        TakeEvent();
        _guestPort.Notify();
        _guestPort.Notify();
        AssertNoEvent();

        channel.Unmask();
        TakeEvent();
        channel.Unmask();
        AssertNoEvent();
    }

    [Fact]
    public void An_unmasked_port_delivers_at_once()
    {
        var channel = Bind();
        TakeEvent();
        channel.Unmask();
        _guestPort.Notify();
        TakeEvent();
    }

    [Fact]
    public async Task Notifying_wakes_the_guest_and_many_notifications_are_one_event()
    {
        var channel = Bind();
        channel.Notify();
        channel.Notify();
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
        var e = Assert.Throws<HostCallException>(() => _dom0.Bind(new DomainId(domain), new RemotePort(port), () => { }));
        Assert.Equal(Errnos.EINVAL, e.Errno);
    }

    [Fact]
    public void A_bound_port_does_not_bind_twice_and_binds_again_after_unbinding()
    {
        var first = Bind();
        Assert.Throws<HostCallException>(() => Bind());
        first.Dispose();
        Bind().Dispose();
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
        var channel = Bind();
        TakeEvent();
        channel.Unmask();
        _guestPort.Close();
        channel.Notify();
        _guestPort.Notify();
        Assert.False(_guestPort.TryTake());
        AssertNoEvent();
    }

    [Fact]
    public void After_unbinding_nothing_is_delivered_and_the_channel_is_of_no_use()
    {
        var channel = Bind();
        TakeEvent();
        _guestPort.Notify();
        channel.Dispose();
        channel.Dispose();
        _guestPort.Notify();
        AssertNoEvent();
        Assert.Throws<ObjectDisposedException>(channel.Notify);
        Assert.Throws<ObjectDisposedException>(channel.Unmask);
    }

    [Fact]
    public async Task A_callback_that_throws_is_reported_and_stops_nobody_else()
    {
        var failure = new TaskCompletionSource<Exception>();
        _dom0.CallbackFailed += e => failure.TrySetResult(e);
        _dom0.Bind(Guest, _guestPort.Number, () => throw new InvalidOperationException("broken"));
        var other = _ports.Allocate(new DomainId(4));
        _dom0.Bind(other.Guest, other.Number, () => _events.Add("other"));
        Assert.Equal("other", TakeEvent());
        Assert.Equal("broken", (await failure.Task.WaitAsync(Eventually.Patience)).Message);
    }

    [Fact]
    public void The_end_of_the_process_unbinds_and_another_process_binds_again()
    {
        Bind();
        TakeEvent();
        _dom0.Dispose();
        Assert.Equal(0, _ports.Bound);
        Assert.Throws<ObjectDisposedException>(() => Bind());

        using var next = new SimulatedEventChannels(_ports);
        next.Bind(Guest, _guestPort.Number, () => _events.Add("next"));
        Assert.Equal("next", TakeEvent());
    }

    [Fact]
    public async Task A_callback_may_dispose_of_everything()
    {
        var done = new TaskCompletionSource();
        _dom0.Bind(Guest, _guestPort.Number, () =>
        {
            _dom0.Dispose();
            done.SetResult();
        });
        await done.Task.WaitAsync(Eventually.Patience);
    }

    private IEventChannel Bind() => _dom0.Bind(Guest, _guestPort.Number, () => _events.Add("event"));

    private string TakeEvent() => _events.TryTake(out var e, Eventually.Patience) ? e
        : throw new TimeoutException("no event was delivered");

    /// <summary>Nothing is on its way: an event through another port, which comes after whatever was queued, arrives first.</summary>
    private void AssertNoEvent()
    {
        var fence = _ports.Allocate(Guest);
        using var channel = _dom0.Bind(Guest, fence.Number, () => _events.Add("fence"));
        Assert.Equal("fence", TakeEvent());
    }
}
