using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>Cases 1 to 13: the shared page and how its requests are served.</summary>
public class SharedPageCases
{
    [Fact]
    public async Task Case_01_Fields_lie_at_the_kernels_offsets()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pirqs.Highest = 200;
        dom0.Xen.Pci.Plug(WithManyVectors(Spare));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).TurnOnAsync();
        var page = new RawPage(guest);
        page.Bytes[RawPage.MsixEntries..].Fill(0xA5);
        for (var i = 0; i < 128; i++) page.AskForVector(i);
        page.Send(RawPage.EnableMsix, value: 128);
        await page.WaitForAnswerAsync();

        Assert.Equal((0, 0u), page.Answer);
        Assert.Equal(Enumerable.Range(0, 128), Enumerable.Range(0, 128).Select(i => (int)page.EntryAt(i)));
        var pirqs = dom0.Xen.Pirqs.Of(guest.Id).Select(pirq => pirq.Value);
        Assert.Equal(pirqs, Enumerable.Range(0, 128).Select(i => (int)page.VectorAt(i)));
        Assert.All(page.Bytes[RawPage.Aer..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Fact]
    public async Task Case_02_An_event_without_a_request_leaves_the_page_untouched()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        var before = page.Bytes.ToArray();
        Assert.Equal(RawPage.TakesAer, page.Flags);

        guest.Frontend.Port.Notify();
        await Eventually.EqualAsync(2, () => traffic.Unmasks);
        Assert.Equal(before, page.Bytes.ToArray());
        Assert.Equal(0, traffic.Notifications);
    }

    [Fact]
    public async Task Case_03_A_read_is_answered_with_one_event()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        await Eventually.EqualAsync(1, () => traffic.Unmasks);
        var page = new RawPage(guest);
        page[RawPage.Error] = 0xCAFE;
        page.Send(RawPage.ConfRead, offset: 0, size: 2);
        await Eventually.EqualAsync(2, () => traffic.Unmasks);

        Assert.Equal((0, 0x8086u), page.Answer);
        Assert.Equal(RawPage.TakesAer, page.Flags);
        Assert.Equal(1, traffic.Notifications);
    }

    [Fact]
    public async Task Case_04_Only_error_value_and_flag_are_written()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var page = new RawPage(await dom0.ConnectedByHandAsync(Nic));
        page.Bytes[RawPage.Info..].Fill(0xA5);
        page[RawPage.Error] = 0xCAFE;
        page.Send(RawPage.ConfRead, Register.Revision);
        await page.WaitForAnswerAsync();

        Assert.Equal((0, dom0.Xen.Pci[Nic].Read(Register.Revision)), page.Answer);
        Assert.Equal(RawPage.TakesAer, page.Flags);
        Assert.Equal((RawPage.ConfRead, 0u), (page[RawPage.Command], page[RawPage.Segment]));
        Assert.Equal((0u, 0u), (page[RawPage.Bus], page[RawPage.DevFn]));
        Assert.Equal((0x08u, 4u), (page[RawPage.Offset], page[RawPage.Size]));
        Assert.All(page.Bytes[RawPage.Info..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Theory]
    [InlineData(6u, 0u, -4), InlineData(10u, 0u, -4), InlineData(uint.MaxValue, 0u, -4), InlineData(6u, 0x10u, -1)]
    public async Task Case_05_An_unknown_request_is_not_implemented_unless_its_device_is_unknown_too(
        uint command, uint devFn, int error)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        Assert.Equal(error, (await guest.Frontend.SendAsync(new FrontendRequest(command, 0, 0, devFn))).Error);
    }

    [Theory]
    [InlineData(1u, 0u, 0u), InlineData(0u, 1u, 0u), InlineData(0u, 0u, 0x08u), InlineData(0u, 0u, 0x01u)]
    public async Task Case_06_An_unknown_device_is_not_found_whatever_is_asked(uint segment, uint bus, uint devFn)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        foreach (var command in (uint[])[0, 1, 2, 3, 4, 5, 6, 99])
        {
            var request = new FrontendRequest(command, segment, bus, devFn, Offset: 0, Size: 4, Value: 0xCAFE);
            var answer = await guest.Frontend.SendAsync(request);
            Assert.Equal((-1, 0xCAFEu), (answer.Error, answer.Value));
        }
    }

    [Fact]
    public async Task Case_07_A_read_goes_where_the_request_pointed_when_it_was_taken()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var page = new RawPage(await dom0.ConnectedByHandAsync(Nic));
        dom0.Xen.Faults.Watch(FaultPoint.ConfigRead, device: Nic, onCall: () =>
            (page[RawPage.Offset], page[RawPage.DevFn]) = (0x04, 0x08));
        page.Send(RawPage.ConfRead, Register.Bar(0));
        await page.WaitForAnswerAsync();
        Assert.Equal((0, dom0.Xen.Pci[Nic].Read(Register.Bar(0))), page.Answer);
        Assert.Equal(0x04u, page[RawPage.Offset]);
    }

    [Fact]
    public async Task Case_07_A_write_writes_what_the_request_said_when_it_was_taken()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var page = new RawPage(await dom0.ConnectedByHandAsync(Nic));
        var reads = dom0.Xen.Faults.Watch(FaultPoint.ConfigRead, device: Nic, onCall: () =>
            (page[RawPage.Offset], page[RawPage.Size], page[RawPage.Value]) = (0x3C, 4, 0xFFFF_FFFF));
        page.Send(RawPage.ConfWrite, Register.CacheLineSize, value: 0x08);
        await page.WaitForAnswerAsync();
        Assert.NotEqual(0, reads.Struck);
        Assert.Equal((0, 0x08u), (page.Answer.Error, dom0.Xen.Pci[Nic].Read(Register.CacheLineSize)));
    }

    [Fact]
    public async Task Case_08_A_request_posted_right_after_an_answer_is_served_without_an_event_of_its_own()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var page = new RawPage(await dom0.ConnectedByHandAsync(Nic));
        var answers = 0;
        dom0.Xen.Faults.Watch(FaultPoint.Notified, onCall: () =>
        {
            if (answers++ == 0) page.Post(RawPage.ConfRead, Register.Revision);
        });
        page.Send(RawPage.ConfRead, Register.Ids);
        await Eventually.EqualAsync(2, () => traffic.Notifications);
        Assert.Equal((0, dom0.Xen.Pci[Nic].Read(Register.Revision)), page.Answer);
        // One of them is the binding itself.
        Assert.Equal(2, traffic.Events);
    }

    [Fact]
    public async Task Case_09_A_thousand_events_during_a_request_do_not_repeat_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        await Eventually.EqualAsync(1, () => traffic.Unmasks);
        var reads = dom0.Xen.Faults.Watch(FaultPoint.ConfigRead, device: Nic, onCall: () =>
        {
            for (var i = 0; i < 1000; i++) guest.Frontend.Port.Notify();
        });
        new RawPage(guest).Send(RawPage.ConfRead, Register.Revision);
        // The thousand have become one, which finds nothing to do.
        await Eventually.EqualAsync(3, () => traffic.Unmasks);
        Assert.Equal((3, 1, 1), (traffic.Events, traffic.Notifications, reads.Struck));
    }

    [Fact]
    public async Task Case_10_A_storm_of_events_without_a_request_changes_nothing()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        var before = page.Bytes.ToArray();
        for (var i = 0; i < 20_000; i++) guest.Frontend.Port.Notify();
        await Eventually.IsTrueAsync(() => traffic.Events > 1 && traffic.Unmasks == traffic.Events);

        Assert.InRange(traffic.Unmasks, 2, 20_001);
        Assert.Equal(0, traffic.Notifications);
        Assert.Equal(before, page.Bytes.ToArray());
        Assert.Equal("4", await dom0.ReadAsync(guest, "state"));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
        page.Send(RawPage.ConfRead, Register.Ids);
        await page.WaitForAnswerAsync();
        Assert.Equal((0, NicIds), page.Answer);
    }

    [Fact]
    public async Task Case_11_An_answer_within_the_guests_patience_is_taken()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var stall = Stall(dom0, Register.Revision);
        var answer = guest.Device(0).ReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => stall.Struck);
        Assert.False(answer.IsCompleted);
        stall.Dispose();
        Assert.Equal(NicRevision, await answer);
    }

    [Fact]
    public async Task Case_11_A_request_after_one_that_was_given_up_gets_its_own_answer()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        // Its patience is Linux's, two seconds.
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], new FrontendOptions());
        using var stall = Stall(dom0, Register.Revision);
        var request = guest.Device(0).TryReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => stall.Struck);
        await dom0.AdvanceUntilDoneAsync(request);
        Assert.Equal((-1, true), ((await request).Error, (await request).TimedOut));

        var page = new RawPage(guest);
        page.Send(RawPage.ConfRead, Register.Ids);
        stall.Dispose();
        await page.WaitForAnswerAsync();
        Assert.Equal((0, NicIds), page.Answer);
    }

    [Fact]
    public async Task Case_12_A_request_in_hand_is_finished_before_the_page_is_unmapped()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var traffic = new PortTraffic(dom0);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        using var stall = Stall(dom0, Register.Revision);
        page.Send(RawPage.ConfRead, Register.Revision);
        await Eventually.EqualAsync(1, () => stall.Struck);
        await guest.Frontend.WriteStateAsync(5);
        await Eventually.EqualAsync(new Held(Pages: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
        Assert.Equal("4", await dom0.ReadAsync(guest, "state"));

        stall.Dispose();
        await Eventually.EqualAsync("5", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
        Assert.Equal((false, (0, NicRevision)), (page.IsWaiting, page.Answer));
        Assert.Equal(0, traffic.Notifications);
    }

    [Fact]
    public async Task Case_13_A_flag_the_guest_changes_meanwhile_is_not_lost()
    {
        await using var dom0 = await TestDom0.StartAsync();
        // The flag is the test's: no driver of the guest answers what it takes for a question.
        var withoutDriver = new FrontendOptions { Driver = _ => ValueTask.FromResult<int?>(null) };
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], withoutDriver);
        var page = new RawPage(guest);
        using var stop = new CancellationTokenSource();
        var lost = 0;
        var flipping = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                Interlocked.Or(ref page.Flags, RawPage.AerRequest);
                if ((Volatile.Read(ref page.Flags) & RawPage.AerRequest) == 0) lost++;
                Interlocked.And(ref page.Flags, ~RawPage.AerRequest);
                if ((Volatile.Read(ref page.Flags) & RawPage.AerRequest) != 0) lost++;
            }
        });
        flipping.Start();
        for (var i = 0; i < 1_000; i++) Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        await stop.CancelAsync();
        flipping.Join();
        Assert.Equal(0, lost);
        Assert.Equal(RawPage.TakesAer, page.Flags);
    }

    /// <summary>The next read of a register of the NIC does not come back until the fault is disposed.</summary>
    private static ArmedFault Stall(TestDom0 dom0, Register register) =>
        dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Stall, device: Nic, register: register.Offset);

    /// <summary>What goes over the event channels of guests that connect from now on.</summary>
    private sealed class PortTraffic(TestDom0 dom0)
    {
        private readonly ArmedFault _events = dom0.Xen.Faults.Watch(FaultPoint.Event);
        private readonly ArmedFault _unmasks = dom0.Xen.Faults.Watch(FaultPoint.Unmask);
        private readonly ArmedFault _notifications = dom0.Xen.Faults.Watch(FaultPoint.Notified);

        /// <summary>Events that have reached the backend.</summary>
        public int Events => _events.Struck;

        public int Unmasks => _unmasks.Struck;

        /// <summary>Events that the backend has sent.</summary>
        public int Notifications => _notifications.Struck;
    }
}
