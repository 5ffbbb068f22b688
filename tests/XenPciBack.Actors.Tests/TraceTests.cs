using Akka.Actor;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>The debug view of the traffic: what was asked, what came of it field by field, and only while somebody looks.</summary>
public class TraceTests : BackendTest
{
    [Fact]
    public async Task A_write_is_told_field_by_field_with_what_the_device_got()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var sink = await WatchAsync(guest.Id, null);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0146);
        var traced = await NextAsync(sink);
        Assert.Equal((guest.Id, Nic, PciOpCode.ConfWrite, "Command", 0), (traced.Guest, traced.Device, traced.Request.Code, traced.Register, (int)traced.Answer.Error));
        var field = Assert.Single(traced.Fields);
        Assert.Equal((0x04, 2, FieldEffect.Filtered, 0x0146u, 0x0146u), (field.Offset, field.Size, field.Effect, field.Asked, field.Guest));
        Assert.Equal(Xen.Pci[Nic].Read(0x04, 2), field.Device);
    }

    [Theory]
    [InlineData(0x0C, 1, 0x10, FieldEffect.Allowed), InlineData(0x06, 2, 0xFFFF, FieldEffect.Dropped), InlineData(0xF0, 2, 0x40, FieldEffect.Dropped)]
    [InlineData(0xA2, 2, 0x8004, FieldEffect.Refused), InlineData(0x3D, 1, 0x01, FieldEffect.Unchanged)]
    public async Task Every_effect_has_its_name(int offset, int size, uint value, FieldEffect effect)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var sink = await WatchAsync(null, Nic);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, offset, size, value);
        Assert.Equal(effect, Assert.Single((await NextAsync(sink)).Fields).Effect);
    }

    [Fact]
    public async Task A_read_tells_what_is_not_as_the_device_has_it()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Pci[Nic].Force(0x10, 4, 0);
        var sink = await WatchAsync(guest.Id, null);
        await ReadConfigAsync(guest, 0, 0x10, 4);
        await ReadConfigAsync(guest, 0, 0x0C, 1);
        var bar = Assert.Single((await NextAsync(sink)).Fields);
        Assert.Equal((FieldEffect.Virtual, 0u), (bar.Effect, bar.Device));
        Assert.Equal(FieldEffect.AsOnDevice, Assert.Single((await NextAsync(sink)).Fields).Effect);
    }

    [Fact]
    public async Task Interrupt_requests_and_absent_devices_are_traced_too()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var sink = await WatchAsync(guest.Id, null);
        await guest.Frontend.SendAsync(new FrontendRequest((uint)PciOpCode.EnableMsi, 0, 0, 0));
        await guest.Frontend.ReadConfigAsync(0, 1, 0, 0, 4);
        var (msi, absent) = (await NextAsync(sink), await NextAsync(sink));
        Assert.Equal((PciOpCode.EnableMsi, Xen.Pirqs.Of(guest.Id).Single().Value), (msi.Request.Code, (int)msi.Answer.Value));
        Assert.Equal((null, PciOpError.DeviceNotFound), (absent.Device, absent.Answer.Error));
    }

    [Fact]
    public async Task A_sink_gets_its_guest_or_device_only_and_nothing_after_it_was_stopped()
    {
        var (web, other) = (await ConnectedGuestAsync("web", Nic, Sata), await ConnectedGuestAsync("other", Edu));
        var (ofWeb, ofSata) = (new TraceSink(web.Id, null), new TraceSink(null, Sata));
        await StartAsync(ofWeb, ofSata);
        await ReadConfigAsync(other, 0, 0, 4);
        await ReadConfigAsync(web, 0, 0, 4);
        await ReadConfigAsync(web, 0x0A, 0, 4);
        Assert.Equal(Nic, (await NextAsync(ofWeb)).Device);
        Assert.Equal(Sata, (await NextAsync(ofWeb)).Device);
        Assert.Equal(Sata, (await NextAsync(ofSata)).Device);

        Backend.Tell(new Tracing.Stop(ofWeb));
        await ReadConfigAsync(web, 0x0A, 0, 4);
        Assert.Equal(Sata, (await NextAsync(ofSata)).Device);
        Assert.False(ofWeb.Operations.TryRead(out _));
    }

    [Fact]
    public async Task A_guest_that_comes_later_is_traced_from_its_first_request()
    {
        var sink = await WatchAsync(null, null);
        await ConnectedGuestAsync("web", Nic);
        var first = await NextAsync(sink);
        Assert.Equal((PciOpCode.ConfRead, 0u, 0u), (first.Request.Code, first.Request.Bus, first.Request.DevFn));
    }

    [Fact]
    public async Task A_viewer_who_is_too_slow_misses_operations_and_is_told_how_many()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var sink = new TraceSink(null, null, capacity: 2);
        await StartAsync(sink);
        for (var i = 0; i < 5; i++) await ReadConfigAsync(guest, 0, 0, 4);
        Assert.Equal((3, 0), (sink.TakeMissed(), sink.TakeMissed()));
    }

    private async Task<TraceSink> WatchAsync(DomainId? guest, HostBdf? device)
    {
        var sink = new TraceSink(guest, device);
        await StartAsync(sink);
        return sink;
    }

    /// <summary>Returns when every guest has been told: a last sink, which sees everything, is told after these.</summary>
    private async Task StartAsync(params TraceSink[] sinks)
    {
        var last = new TraceSink(null, null);
        foreach (var sink in sinks.Append(last)) Backend.Tell(new Tracing.Start(sink));
        foreach (var guest in Xen.Guests)
            await EventuallyAsync(true, async () =>
            {
                await guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4);
                return last.Operations.TryRead(out _);
            });
        Backend.Tell(new Tracing.Stop(last));
        foreach (var sink in sinks)
        {
            while (sink.Operations.TryRead(out _)) { }
            sink.TakeMissed();
        }
    }

    private static async Task<TracedOperation> NextAsync(TraceSink sink) => await sink.Operations.ReadAsync(Soon());
}
