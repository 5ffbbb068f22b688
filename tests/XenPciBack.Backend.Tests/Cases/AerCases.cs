using XenPciBack.Backend.Errors;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>
/// Cases 89 to 94: a guest is asked about an error of its device. Where the kernel's backend only writes aerState, this
/// one crashes the guest as well; that and the time limit are in src/DEVIATIONS.md.
/// </summary>
public class AerCases
{
    private const uint Detected = 6, Resume = 7, MmioEnabled = 8;
    private const int Recovered = 5, CanRecover = 2;

    private static readonly BackendSettings Recovering =
        TestDom0.Settings with { Aer = TestDom0.Settings.Aer with { Response = AerResponse.RecoverThenKill } };

    [Fact]
    public async Task Case_89_A_guest_without_error_handling_is_given_up_without_being_asked()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        dom0.Xen.OnCrash = OnCrash.Preserve;
        var guest = await dom0.ConnectedGuestAsync("mini-os", [Nic], new FrontendOptions { TakesAer = false });
        Fail(dom0);
        await Eventually.EqualAsync("aerfail", () => dom0.ReadAsync(guest, "aerState"));
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        Assert.Empty(guest.Frontend.Questions);
    }

    [Fact]
    public async Task Case_90_A_guest_that_has_recovered_is_asked_no_more_than_to_go_on()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var (guest, page) = await AskedGuestAsync(dom0);
        Assert.Equal([Detected, 1, 0, 0, 0], Enumerable.Range(0, 5).Select(i => page[RawPage.Aer + 4 * i]));
        AnswerQuestion(guest, page, Recovered);
        await AskedAsync(page, Resume);
        AnswerQuestion(guest, page, Recovered);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal(0u, page.Flags & RawPage.AerRequest);
        Assert.Null(await dom0.ReadAsync(guest, "aerState"));
        Assert.False(guest.IsCrashed);
    }

    [Theory]
    [InlineData(1), InlineData(4), InlineData(77)]
    public async Task Case_91_None_disconnect_and_what_is_no_answer_at_all_end_the_guest(int verdict)
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var (guest, page) = await AskedGuestAsync(dom0);
        AnswerQuestion(guest, page, verdict);
        await Eventually.EqualAsync("aerfail", () => dom0.ReadAsync(guest, "aerState"));
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        await Eventually.EqualAsync(guest.Id, () => dom0.Quarantine.Find(Nic)?.Guest);
    }

    [Fact]
    public async Task Case_92_A_silent_guests_question_is_taken_back_and_others_do_not_wait_for_it()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var (guest, page) = await AskedGuestAsync(dom0);
        var other = await dom0.ConnectedGuestAsync("other", Edu);
        Assert.Equal(EduIds, await other.Device(0).ReadAsync(Register.Ids));
        await dom0.Xen.DestroyGuestAsync(other);
        dom0.Advance(Recovering.Aer.StepPatience - TimeSpan.FromMilliseconds(1));
        Assert.Equal(RawPage.AerRequest, page.Flags & RawPage.AerRequest);

        var withdrawn = Eventually.EqualAsync(0u, () => page.Flags & RawPage.AerRequest);
        await dom0.AdvanceUntilDoneAsync(withdrawn, step: TimeSpan.FromMilliseconds(1));
        await Eventually.IsTrueAsync(() => guest.IsCrashed);
        Assert.Equal(1u, page[RawPage.Aer + 4]);
    }

    [Fact]
    public async Task Case_93_A_request_is_served_while_the_guest_is_asked()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var (_, page) = await AskedGuestAsync(dom0);
        page.Send(RawPage.ConfRead, Register.Ids);
        await page.WaitForAnswerAsync();
        Assert.Equal((0, NicIds), page.Answer);
        Assert.Equal((Detected, RawPage.AerRequest), (page[RawPage.Aer], page.Flags & RawPage.AerRequest));
    }

    [Theory]
    [InlineData(1), InlineData(4), InlineData(77)]
    public async Task Case_94_Whatever_is_answered_to_resume_the_guest_goes_on(int verdict)
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var (guest, page) = await AskedGuestAsync(dom0);
        AnswerQuestion(guest, page, CanRecover);
        await AskedAsync(page, MmioEnabled);
        AnswerQuestion(guest, page, Recovered);
        await AskedAsync(page, Resume);
        AnswerQuestion(guest, page, verdict);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();

        // The next error is a recovery of its own.
        await Eventually.EqualAsync((Detected, RawPage.AerRequest), () =>
        {
            if ((page.Flags & RawPage.AerRequest) == 0) Fail(dom0);
            return (page[RawPage.Aer], page.Flags & RawPage.AerRequest);
        });
        Assert.False(guest.IsCrashed);
    }

    private static void Fail(TestDom0 dom0) => dom0.Xen.Aer.Inject(Nic, AerSeverity.NonFatal, 1 << 14);

    /// <summary>A guest that is asked by hand: nothing answers but the test.</summary>
    private static async Task<(SimulatedGuest Guest, RawPage Page)> AskedGuestAsync(TestDom0 dom0)
    {
        dom0.Xen.OnCrash = OnCrash.Preserve;
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        Fail(dom0);
        await AskedAsync(page, Detected);
        return (guest, page);
    }

    private static Task AskedAsync(RawPage page, uint step) =>
        Eventually.EqualAsync((step, RawPage.AerRequest), () => (page[RawPage.Aer], page.Flags & RawPage.AerRequest));

    private static void AnswerQuestion(SimulatedGuest guest, RawPage page, int verdict)
    {
        page[RawPage.Aer + 4] = (uint)verdict;
        Interlocked.And(ref page.Flags, ~RawPage.AerRequest);
        guest.Frontend.Port.Notify();
    }
}
