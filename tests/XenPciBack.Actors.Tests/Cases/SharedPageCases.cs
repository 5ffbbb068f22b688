using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 1 to 13: the shared page and how its requests are served.</summary>
public class SharedPageCases : CaseTest
{
    private const uint ConfRead = 0, ConfWrite = 1;
    private const int ClassAndRevision = 0x08, CacheLineSize = 0x0C, Bar0 = 0x10;
    private const uint NicIds = 0x10D3_8086;

    [Fact]
    public async Task Case_01_Fields_lie_at_the_kernels_offsets()
    {
        Xen.Pirqs.Highest = 200;
        Xen.Pci.Plug(WithManyVectors(Spare));
        var guest = await ConnectedGuestAsync("web", Spare);
        await TurnOnMemoryAsync(guest);
        var page = new RawPage(guest);
        page.Bytes[RawPage.MsixEntries..].Fill(0xA5);
        for (var i = 0; i < 128; i++) page.AskForVector(i);
        page.Send(EnableMsix, value: 128);
        await EventuallyAsync(false, () => page.IsWaiting);

        Assert.Equal((0, 0u), page.Answer);
        Assert.Equal(Enumerable.Range(0, 128), Enumerable.Range(0, 128).Select(i => (int)page.EntryAt(i)));
        Assert.Equal(Xen.Pirqs.Of(guest.Id).Select(pirq => pirq.Value), Enumerable.Range(0, 128).Select(i => (int)page.VectorAt(i)));
        Assert.All(page.Bytes[RawPage.Aer..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Fact]
    public async Task Case_02_An_event_without_a_request_leaves_the_page_untouched()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        var before = page.Bytes.ToArray();
        Assert.Equal(RawPage.TakesAer, page.Flags);

        guest.Frontend.Port.Notify();
        await EventuallyAsync(2, () => hooks.Ports.Unmasks);
        Assert.Equal(before, page.Bytes.ToArray());
        Assert.Equal(0, hooks.Ports.Notifications);
    }

    [Fact]
    public async Task Case_03_A_read_is_answered_with_one_event()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        await EventuallyAsync(1, () => hooks.Ports.Unmasks);
        var page = new RawPage(guest);
        page[RawPage.Error] = 0xCAFE;
        page.Send(ConfRead, offset: 0, size: 2);
        await EventuallyAsync(2, () => hooks.Ports.Unmasks);

        Assert.Equal((0, 0x8086u), page.Answer);
        Assert.Equal(RawPage.TakesAer, page.Flags);
        Assert.Equal(1, hooks.Ports.Notifications);
    }

    [Fact]
    public async Task Case_04_Only_error_value_and_flag_are_written()
    {
        var page = new RawPage(await ConnectedByHandAsync(Nic));
        page.Bytes[RawPage.Info..].Fill(0xA5);
        page[RawPage.Error] = 0xCAFE;
        page.Send(ConfRead, ClassAndRevision, size: 4);
        await EventuallyAsync(false, () => page.IsWaiting);

        Assert.Equal((0, Xen.Pci[Nic].Read(ClassAndRevision, 4)), page.Answer);
        Assert.Equal([ConfRead, 0, 0, 0, ClassAndRevision, 4], new[] { RawPage.Command, RawPage.Segment, RawPage.Bus, RawPage.DevFn, RawPage.Offset, RawPage.Size }.Select(at => page[at]));
        Assert.All(page.Bytes[RawPage.Info..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Theory]
    [InlineData(6u, 0u, -4), InlineData(uint.MaxValue, 0u, -4), InlineData(6u, 0x10u, -1)]
    public async Task Case_05_An_unknown_request_is_not_implemented_unless_its_device_is_unknown_too(uint command, uint devFn, int error)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal(error, (await guest.Frontend.SendAsync(new FrontendRequest(command, 0, 0, devFn))).Error);
    }

    [Theory]
    [InlineData(1u, 0u, 0u), InlineData(0u, 1u, 0u), InlineData(0u, 0u, 0x08u)]
    public async Task Case_06_An_unknown_device_is_not_found_whatever_is_asked(uint segment, uint bus, uint devFn)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        for (uint command = 0; command <= 6; command++)
        {
            var answer = await guest.Frontend.SendAsync(new FrontendRequest(command, segment, bus, devFn, Offset: 0, Size: 4, Value: 0xCAFE));
            Assert.Equal((-1, 0xCAFEu), (answer.Error, answer.Value));
        }
    }

    [Fact]
    public async Task Case_07_A_read_goes_where_the_request_pointed_when_it_was_taken()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var page = new RawPage(await ConnectedByHandAsync(Nic));
        hooks.Pci.Reading = offset =>
        {
            (page[RawPage.Offset], page[RawPage.DevFn]) = (0x04, 0x08);
            return null;
        };
        page.Send(ConfRead, Bar0, size: 4);
        await EventuallyAsync(false, () => page.IsWaiting);
        Assert.Equal((0, Xen.Pci[Nic].Read(Bar0, 4)), page.Answer);
        Assert.Equal(0x04u, page[RawPage.Offset]);
    }

    [Fact]
    public async Task Case_07_A_write_writes_what_the_request_said_when_it_was_taken()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var page = new RawPage(await ConnectedByHandAsync(Nic));
        hooks.Pci.Reading = offset =>
        {
            (page[RawPage.Offset], page[RawPage.Size], page[RawPage.Value]) = (0x3C, 4, 0xFFFF_FFFF);
            return null;
        };
        page.Send(ConfWrite, CacheLineSize, size: 1, value: 0x08);
        await EventuallyAsync(false, () => page.IsWaiting);
        Assert.Equal((0, 0x08u), (page.Answer.Error, Xen.Pci[Nic].Read(CacheLineSize, 1)));
    }

    [Fact]
    public async Task Case_08_A_request_posted_right_after_an_answer_is_served_without_an_event_of_its_own()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var page = new RawPage(await ConnectedByHandAsync(Nic));
        hooks.Ports.Notified = () =>
        {
            hooks.Ports.Notified = () => { };
            page.Post(ConfRead, ClassAndRevision, size: 4);
        };
        page.Send(ConfRead, offset: 0, size: 4);
        await EventuallyAsync(2, () => hooks.Ports.Notifications);
        Assert.Equal((0, Xen.Pci[Nic].Read(ClassAndRevision, 4)), page.Answer);
        // One of them is the binding itself.
        Assert.Equal(2, hooks.Ports.Events);
    }

    [Fact]
    public async Task Case_09_A_thousand_events_during_a_request_do_not_repeat_it()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        await EventuallyAsync(1, () => hooks.Ports.Unmasks);
        var reads = 0;
        hooks.Pci.Reading = _ =>
        {
            reads++;
            for (var i = 0; i < 1000; i++) guest.Frontend.Port.Notify();
            return null;
        };
        new RawPage(guest).Send(ConfRead, ClassAndRevision, size: 4);
        // The thousand have become one, which finds nothing to do.
        await EventuallyAsync(3, () => hooks.Ports.Unmasks);
        Assert.Equal((3, 1, 1), (hooks.Ports.Events, hooks.Ports.Notifications, reads));
    }

    [Fact]
    public async Task Case_10_A_storm_of_events_without_a_request_changes_nothing()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        var before = page.Bytes.ToArray();
        for (var i = 0; i < 20_000; i++) guest.Frontend.Port.Notify();
        await EventuallyAsync(true, () => hooks.Ports.Events > 1 && hooks.Ports.Unmasks == hooks.Ports.Events);

        Assert.InRange(hooks.Ports.Unmasks, 2, 20_001);
        Assert.Equal(0, hooks.Ports.Notifications);
        Assert.Equal(before, page.Bytes.ToArray());
        Assert.Equal(("4", new Held(Pages: 1, Ports: 1, Functions: 1)), (await ReadAsync(guest, "state"), Xen.HeldByDom0));
    }

    [Fact]
    public async Task Case_11_An_answer_within_the_guests_patience_is_taken()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedGuestAsync("web", Nic);
        using var held = new HeldReads(hooks, ClassAndRevision);
        var answer = guest.Frontend.ReadConfigAsync(0, 0, 0, ClassAndRevision, 4);
        await held.WaitUntilBusyAsync();
        Assert.False(answer.IsCompleted);
        held.LetGo();
        Assert.Equal((0, Xen.Pci[Nic].Read(ClassAndRevision, 4), false), ((await answer).Error, (await answer).Value, (await answer).TimedOut));
    }

    [Fact]
    public async Task Case_11_A_request_after_one_that_was_given_up_gets_its_own_answer()
    {
        var settings = Settings with { GuestPatience = TimeSpan.FromMilliseconds(300) };
        var hooks = await RestartWithHooksAsync(Nic, settings);
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { RequestTimeout = settings.GuestPatience, PollTimeout = 1.5 * settings.GuestPatience });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        using var held = new HeldReads(hooks, ClassAndRevision);
        var givenUp = await guest.Frontend.ReadConfigAsync(0, 0, 0, ClassAndRevision, 4);
        Assert.Equal((-1, true), (givenUp.Error, givenUp.TimedOut));

        await held.WaitUntilBusyAsync();
        var page = new RawPage(guest);
        page.Send(ConfRead, offset: 0, size: 4);
        await Task.Delay(settings.GuestPatience);
        held.LetGo();
        await EventuallyAsync(false, () => page.IsWaiting);
        Assert.Equal((0, NicIds), page.Answer);
    }

    [Fact]
    public async Task Case_12_A_request_in_hand_is_finished_before_the_page_is_unmapped()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        using var held = new HeldReads(hooks, ClassAndRevision);
        page.Send(ConfRead, ClassAndRevision, size: 4);
        await held.WaitUntilBusyAsync();
        await guest.Frontend.WriteStateAsync(5);
        await EventuallyAsync(new Held(Pages: 1, Functions: 1), () => Xen.HeldByDom0);
        Assert.Equal("4", await ReadAsync(guest, "state"));

        held.LetGo();
        await EventuallyAsync("5", () => ReadAsync(guest, "state"));
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
        Assert.Equal((false, (0, Xen.Pci[Nic].Read(ClassAndRevision, 4))), (page.IsWaiting, page.Answer));
        Assert.Equal(0, hooks.Ports.Notifications);
    }

    [Fact]
    public async Task Case_13_A_flag_the_guest_changes_meanwhile_is_not_lost()
    {
        // The flag is the test's: no driver of the guest answers what it takes for a question.
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { Driver = _ => ValueTask.FromResult<int?>(null) });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
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
        for (var i = 0; i < 1_000; i++) Assert.Equal(NicIds, await ReadRegisterAsync(guest, 0, 4));
        await stop.CancelAsync();
        flipping.Join();
        Assert.Equal(0, lost);
        Assert.Equal(RawPage.TakesAer, page.Flags);
    }
}
