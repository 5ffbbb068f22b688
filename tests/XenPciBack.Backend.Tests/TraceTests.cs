using Akka.Actor;
using XenPciBack.Backend.Tracing;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Tests;

/// <summary>The trace of guests' operations: what was asked and, field by field, what came of it.</summary>
public class TraceTests
{
    [Fact]
    public async Task A_write_is_told_field_by_field_with_what_the_device_got()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var sink = new TraceSink(guest.Id, null);
        await TraceAsync(dom0, sink);
        await guest.Device(0).WriteAsync(Register.Command, 0x0146);
        var traced = await NextAsync(sink);
        Assert.Equal((guest.Id, Nic), (traced.Guest, traced.Device));
        Assert.Equal((PciOpCode.ConfWrite, "Command"), (traced.Request.Code, traced.Register));
        Assert.Equal(PciOpError.Success, traced.Answer.Error);
        var field = Assert.Single(traced.Fields);
        Assert.Equal((0x04, 2, FieldEffect.Filtered), (field.Offset, field.Size, field.Effect));
        Assert.Equal((0x0146u, 0x0146u), (field.Asked, field.Guest));
        Assert.Equal(dom0.Xen.Pci[Nic].Read(Register.Command), field.Device);
    }

    [Theory]
    [InlineData(0x0C, 1, 0x10, FieldEffect.Allowed), InlineData(0x06, 2, 0xFFFF, FieldEffect.Dropped)]
    [InlineData(0xF0, 2, 0x40, FieldEffect.Dropped), InlineData(0xA2, 2, 0x8004, FieldEffect.Refused)]
    [InlineData(0x3D, 1, 0x01, FieldEffect.Unchanged)]
    public async Task Every_effect_has_its_name(int offset, int size, uint value, FieldEffect effect)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var sink = new TraceSink(null, Nic);
        await TraceAsync(dom0, sink);
        await guest.Device(0).TryWriteAsync(new Register(offset, size), value);
        Assert.Equal(effect, Assert.Single((await NextAsync(sink)).Fields).Effect);
    }

    [Fact]
    public async Task A_read_tells_what_is_not_as_the_device_has_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Pci[Nic].Force(Register.Bar(0), 0);
        var sink = new TraceSink(guest.Id, null);
        await TraceAsync(dom0, sink);
        await guest.Device(0).ReadAsync(Register.Bar(0));
        await guest.Device(0).ReadAsync(Register.CacheLineSize);
        var bar = Assert.Single((await NextAsync(sink)).Fields);
        Assert.Equal((FieldEffect.Virtual, 0u), (bar.Effect, bar.Device));
        Assert.Equal(FieldEffect.AsOnDevice, Assert.Single((await NextAsync(sink)).Fields).Effect);
    }

    [Fact]
    public async Task Interrupt_requests_and_absent_devices_are_traced_too()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var sink = new TraceSink(guest.Id, null);
        await TraceAsync(dom0, sink);
        await guest.Device(0).EnableMsiAsync();
        await guest.DeviceAt("0000:01:00.0").TryReadAsync(Register.Ids);
        var (msi, absent) = (await NextAsync(sink), await NextAsync(sink));
        var pirq = dom0.Xen.Pirqs.Of(guest.Id).Single();
        Assert.Equal((PciOpCode.EnableMsi, pirq.Value), (msi.Request.Code, (int)msi.Answer.Value));
        Assert.Equal((null, PciOpError.DeviceNotFound), (absent.Device, absent.Answer.Error));
    }

    [Fact]
    public async Task A_sink_gets_its_guest_or_device_only_and_nothing_after_it_was_stopped()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var web = await dom0.ConnectedGuestAsync("web", Nic, Sata);
        var other = await dom0.ConnectedGuestAsync("other", Edu);
        var (ofWeb, ofSata) = (new TraceSink(web.Id, null), new TraceSink(null, Sata));
        await TraceAsync(dom0, ofWeb, ofSata);
        await other.Device(0).ReadAsync(Register.Ids);
        await web.Device(0).ReadAsync(Register.Ids);
        await web.Device(1).ReadAsync(Register.Ids);
        Assert.Equal(Nic, (await NextAsync(ofWeb)).Device);
        Assert.Equal(Sata, (await NextAsync(ofWeb)).Device);
        Assert.Equal(Sata, (await NextAsync(ofSata)).Device);

        dom0.Backend.Tell(new TraceMessages.Stop(ofWeb));
        await TraceAsync(dom0);
        while (ofWeb.Operations.TryRead(out _)) { }
        await web.Device(1).ReadAsync(Register.Ids);
        Assert.Equal(Sata, (await NextAsync(ofSata)).Device);
        Assert.False(ofWeb.Operations.TryRead(out _));
    }

    [Fact]
    public async Task A_guest_that_comes_later_is_traced_from_its_first_request()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var sink = new TraceSink(null, null);
        await TraceAsync(dom0, sink);
        await dom0.ConnectedGuestAsync("web", Nic);
        var first = await NextAsync(sink);
        Assert.Equal((PciOpCode.ConfRead, 0u, 0u), (first.Request.Code, first.Request.Bus, first.Request.DevFn));
    }

    [Fact]
    public async Task A_viewer_who_is_too_slow_misses_operations_and_is_told_how_many()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var sink = new TraceSink(null, null, capacity: 2);
        await TraceAsync(dom0, sink);
        for (var i = 0; i < 5; i++) await guest.Device(0).ReadAsync(Register.Ids);
        Assert.Equal((3, 0), (sink.TakeMissed(), sink.TakeMissed()));
    }

    /// <summary>
    /// Starts sinks, which are empty then, and returns when every guest's actor knows that and all that the backend was
    /// told before: a last sink, which sees everything, is started after them.
    /// </summary>
    private static async Task TraceAsync(TestDom0 dom0, params TraceSink[] sinks)
    {
        var last = new TraceSink(null, null);
        foreach (var sink in sinks.Append(last)) dom0.Backend.Tell(new TraceMessages.Start(sink));
        foreach (var guest in dom0.Xen.Guests)
            await Eventually.IsTrueAsync(async () =>
            {
                await guest.Device(0).ReadAsync(Register.Ids);
                return last.Operations.TryRead(out _);
            });
        dom0.Backend.Tell(new TraceMessages.Stop(last));
        foreach (var sink in sinks)
        {
            while (sink.Operations.TryRead(out _)) { }
            sink.TakeMissed();
        }
    }

    private static async Task<TracedOperation> NextAsync(TraceSink sink) =>
        await sink.Operations.ReadAsync(Eventually.Limit);
}
