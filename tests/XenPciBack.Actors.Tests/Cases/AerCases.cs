using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>
/// Cases 89 to 94: a guest is asked about an error of its device. Where the kernel's backend only writes aerState, this one crashes the
/// guest as well; that and the time limit are in src/DEVIATIONS.md.
/// </summary>
public class AerCases : CaseTest
{
    private const uint Detected = 6, Resume = 7, MmioEnabled = 8;
    private const int Recovered = 5, CanRecover = 2;

    private static BackendSettings Recovering(TimeSpan stepPatience) => Settings with { Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = stepPatience } };

    private void Fail() => Xen.Aer.Inject(Nic, AerSeverity.NonFatal, 1 << 14);

    /// <summary>A guest that is asked by hand: nothing answers but the test.</summary>
    private async Task<(SimulatedGuest Guest, RawPage Page)> AskedGuestAsync(TimeSpan stepPatience)
    {
        Xen.OnCrash = OnCrash.Preserve;
        await RestartBackendAsync(Recovering(stepPatience));
        var guest = await ConnectedByHandAsync(Nic);
        var page = new RawPage(guest);
        Fail();
        await EventuallyAsync(RawPage.AerRequest, () => page.Flags & RawPage.AerRequest);
        return (guest, page);
    }

    private static void AnswerQuestion(SimulatedGuest guest, RawPage page, int verdict)
    {
        page[RawPage.Aer + 4] = (uint)verdict;
        Interlocked.And(ref page.Flags, ~RawPage.AerRequest);
        guest.Frontend.Port.Notify();
    }

    [Fact]
    public async Task Case_89_A_guest_without_error_handling_is_given_up_without_being_asked()
    {
        Xen.OnCrash = OnCrash.Preserve;
        await RestartBackendAsync(Recovering(Patience));
        var guest = await Xen.CreateGuestAsync("mini-os", [Nic], new FrontendOptions { TakesAer = false });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Fail();
        await EventuallyAsync("aerfail", () => ReadAsync(guest, "aerState"));
        await EventuallyAsync(true, () => guest.IsCrashed);
        Assert.Empty(guest.Frontend.Questions);
    }

    [Fact]
    public async Task Case_90_A_guest_that_has_recovered_is_asked_no_more_than_to_go_on()
    {
        var (guest, page) = await AskedGuestAsync(Patience);
        Assert.Equal([Detected, 1, 0, 0, 0], Enumerable.Range(0, 5).Select(i => page[RawPage.Aer + 4 * i]));
        AnswerQuestion(guest, page, Recovered);
        await EventuallyAsync((Resume, RawPage.AerRequest), () => (page[RawPage.Aer], page.Flags & RawPage.AerRequest));
        AnswerQuestion(guest, page, Recovered);
        Assert.Null(await ReadAsync(guest, "aerState"));
        Assert.False(guest.IsCrashed);
    }

    [Theory]
    [InlineData(1), InlineData(4), InlineData(77)]
    public async Task Case_91_None_disconnect_and_what_is_no_answer_at_all_end_the_guest(int verdict)
    {
        var (guest, page) = await AskedGuestAsync(Patience);
        AnswerQuestion(guest, page, verdict);
        await EventuallyAsync("aerfail", () => ReadAsync(guest, "aerState"));
        await EventuallyAsync(true, () => guest.IsCrashed);
    }

    [Fact]
    public async Task Case_92_A_silent_guests_question_is_taken_back_and_others_do_not_wait_for_it()
    {
        var (guest, page) = await AskedGuestAsync(TimeSpan.FromMilliseconds(500));
        var other = await ConnectedGuestAsync("other", Edu);
        Assert.Equal(0x11E8_1234u, await ReadRegisterAsync(other, 0, 4));
        await Xen.DestroyGuestAsync(other);
        await EventuallyAsync(0u, () => page.Flags & RawPage.AerRequest);
        Assert.Equal(1u, page[RawPage.Aer + 4]);
        await EventuallyAsync(true, () => guest.IsCrashed);
    }

    [Fact]
    public async Task Case_93_A_request_is_served_while_the_guest_is_asked()
    {
        var (_, page) = await AskedGuestAsync(Patience);
        page.Send(command: 0, offset: 0, size: 4);
        await EventuallyAsync(false, () => page.IsWaiting);
        Assert.Equal((0, 0x10D3_8086u), page.Answer);
        Assert.Equal((Detected, RawPage.AerRequest), (page[RawPage.Aer], page.Flags & RawPage.AerRequest));
    }

    [Theory]
    [InlineData(1), InlineData(4), InlineData(77)]
    public async Task Case_94_Whatever_is_answered_to_resume_the_guest_goes_on(int verdict)
    {
        var (guest, page) = await AskedGuestAsync(Patience);
        AnswerQuestion(guest, page, CanRecover);
        await EventuallyAsync((MmioEnabled, RawPage.AerRequest), () => (page[RawPage.Aer], page.Flags & RawPage.AerRequest));
        AnswerQuestion(guest, page, Recovered);
        await EventuallyAsync((Resume, RawPage.AerRequest), () => (page[RawPage.Aer], page.Flags & RawPage.AerRequest));
        AnswerQuestion(guest, page, verdict);

        // The next error is a recovery of its own.
        await EventuallyAsync((Detected, RawPage.AerRequest), () =>
        {
            if ((page.Flags & RawPage.AerRequest) == 0) Fail();
            return (page[RawPage.Aer], page.Flags & RawPage.AerRequest);
        });
        Assert.False(guest.IsCrashed);
    }
}
