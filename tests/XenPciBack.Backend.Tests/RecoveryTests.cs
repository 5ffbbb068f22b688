using System.Collections.Concurrent;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// A guest's driver is offered a recovery before its guest is ended. Each step: <see cref="RecoveryActorTests"/>.
/// </summary>
public class RecoveryTests
{
    private const uint CompletionTimeout = 1 << 14;
    private const uint Detected = 6;
    private const int CanRecover = 2, NeedsReset = 3, Disconnect = 4, Recovered = 5;

    // Where the shared page has the slot and function of the question that waits in it.
    private const int QuestionDevFn = 568;

    private static readonly TimeSpan StepPatience = TimeSpan.FromHours(1);

    private static readonly BackendSettings Recovering = TestDom0.Settings with
    {
        Aer = TestDom0.Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = StepPatience },
    };

    private static Task<SimulatedGuest> GuestWithDriverAsync(
        TestDom0 dom0, Func<ErrorQuestion, int?> driver, bool takesAer = true) =>
        GuestWithDriverAsync(dom0, question => ValueTask.FromResult(driver(question)), takesAer);

    private static Task<SimulatedGuest> GuestWithDriverAsync(
        TestDom0 dom0, Func<ErrorQuestion, ValueTask<int?>> driver, bool takesAer = true)
    {
        dom0.Xen.OnCrash = OnCrash.Preserve;
        dom0.Xen.Pci.Plug(Intel82574.At(Spare).Resettable());
        return dom0.ConnectedGuestAsync("web", [Spare], new FrontendOptions { TakesAer = takesAer, Driver = driver });
    }

    private static async Task AttachEduAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == 2, Eventually.Limit);
    }

    private static string[] Steps(SimulatedGuest guest) =>
    [
        .. guest.Frontend.Questions.Select(
            asked => $"{asked.Command}/{asked.Channel} at {asked.Bus:x2}:{asked.DevFn:x2}"),
    ];

    private static async Task<string> ReasonOfDeathAsync(TestDom0 dom0) =>
        (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Reason;

    [Fact]
    public async Task A_driver_that_can_recover_keeps_its_guest_alive()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, asked => asked.Command == Detected ? CanRecover : Recovered);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        var recovered = await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal(new BackendEvents.DeviceRecovered(guest.Id, Spare), recovered);
        Assert.Equal(["6/1 at 00:00", "8/1 at 00:00", "7/1 at 00:00"], Steps(guest));
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.False(guest.IsCrashed);
    }

    [Theory]
    [InlineData(AerSeverity.NonFatal, "6/1", 1)]
    [InlineData(AerSeverity.Fatal, "6/2", 0)]
    public async Task A_driver_that_needs_a_reset_has_its_device_as_it_had_set_it_up(
        AerSeverity severity, string first, int resets)
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, asked => asked.Command == Detected ? NeedsReset : Recovered);
        await guest.Device(0).TurnOnAsync();
        Assert.Equal(0, (await guest.Device(0).EnableMsixAsync(0, 1)).Error);
        // A fatal error: the host resets everything below the port.
        if (severity == AerSeverity.Fatal) Wipe(dom0);

        dom0.Xen.Aer.Inject(Spare, severity, CompletionTimeout);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();

        Assert.Equal([$"{first} at 00:00", "9/1 at 00:00", "7/1 at 00:00"], Steps(guest));
        var card = dom0.Xen.Pci[Spare];
        Assert.Equal(resets, card.Resets);
        Assert.Equal(0x0406u, card.Read(Register.Command) & 0x0406);
        Assert.Equal(0x8000u, card.Read(NicRegister.MsixControl) & 0xC000);
        Assert.NotEqual(0u, card.Read(Register.Bar(0)) & 0xFFFF_F000);
    }

    [Fact]
    public async Task After_a_fatal_error_the_host_resets_the_device_and_the_driver_finds_its_registers_restored()
    {
        // The backend waits for the host's reset for as long as it takes: time stands still.
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var commands = new ConcurrentQueue<uint>();
        var guest = await GuestWithDriverAsync(dom0, asked =>
        {
            commands.Enqueue(dom0.Xen.Pci[Spare].Read(Register.Command) & CommandBits.Memory);
            return asked.Command == Detected ? NeedsReset : Recovered;
        });
        await guest.Device(0).TurnOnAsync();
        using var looking = dom0.Xen.Faults.Watch(FaultPoint.ConfigRead, device: Spare);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, CompletionTimeout);
        await Eventually.IsTrueAsync(() => looking.Struck > 100);
        Assert.Empty(commands);
        Wipe(dom0);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal([CommandBits.Memory, CommandBits.Memory, CommandBits.Memory], commands);
        Assert.Equal(CommandBits.Memory, dom0.Xen.Pci[Spare].Read(Register.Command) & CommandBits.Memory);
        Assert.Equal(0, dom0.Xen.Pci[Spare].Resets);
    }

    [Fact]
    public async Task A_device_that_the_host_does_not_reset_after_a_fatal_error_is_reset_by_the_backend()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        await GuestWithDriverAsync(dom0, asked => asked.Command == Detected ? NeedsReset : Recovered);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, CompletionTimeout);
        await dom0.AdvanceUntilDoneAsync(dom0.Events.NextAsync<BackendEvents.DeviceRecovered>());
        Assert.Equal(1, dom0.Xen.Pci[Spare].Resets);
    }

    [Theory]
    [InlineData(1, "nothing to say to aer_detected")]
    [InlineData(Disconnect, "given the device up")]
    [InlineData(77, "answered aer_detected with 77")]
    public async Task A_driver_without_handlers_and_one_that_lies_lose_the_guest(int verdict, string reason)
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, _ => verdict);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Contains(reason, await ReasonOfDeathAsync(dom0), StringComparison.Ordinal);
        Assert.True(guest.IsCrashed);
    }

    [Fact]
    public async Task A_guest_that_cannot_be_asked_is_not_asked()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, _ => CanRecover, takesAer: false);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Contains("no error handling", await ReasonOfDeathAsync(dom0), StringComparison.Ordinal);
        Assert.Empty(guest.Frontend.Questions);
    }

    [Fact]
    public async Task A_silent_guest_is_waited_for_as_long_as_the_settings_say_and_blocks_nobody()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering, isTimeStopped: true);
        var guest = await GuestWithDriverAsync(dom0, _ => null);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        dom0.Advance(StepPatience - TimeSpan.FromSeconds(1));
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.Empty(await dom0.Events.AllOfAsync<BackendEvents.GuestKilled>());
        dom0.Advance(TimeSpan.FromSeconds(1));
        var reason = await ReasonOfDeathAsync(dom0);
        Assert.Contains("has not answered aer_detected in time", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_drivers_handlers_use_the_device_while_the_backend_waits_for_them()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        SimulatedGuest? guest = null;
        var read = new List<uint>();
        guest = await GuestWithDriverAsync(dom0, async asked =>
        {
            read.Add(await guest!.Device(0).ReadAsync(Register.Ids));
            return asked.Command == Detected ? CanRecover : Recovered;
        });
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal([NicIds, NicIds, NicIds], read);
    }

    [Fact]
    public async Task A_worse_error_during_the_recovery_is_the_end()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, _ => null);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.Fatal, CompletionTimeout);
        var reason = await ReasonOfDeathAsync(dom0);
        Assert.Contains("another error came during the recovery, fatal", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_that_is_detached_meanwhile_needs_no_recovery_and_the_next_question_gets_its_turn()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, _ => null);
        await AttachEduAsync(dom0, guest);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        dom0.Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Spare);
        await Eventually.EqualAsync(1 << 3, () => guest.Frontend.Page.Bytes[QuestionDevFn]);
        Assert.False(guest.IsCrashed);
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task A_device_whose_recovery_is_cut_short_by_the_loss_of_another_is_quarantined_too()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering with
        {
            Aer = Recovering.Aer with { ByDevice = Recovering.Aer.ByDevice.Add(Edu, AerResponse.Kill) },
        });
        var guest = await GuestWithDriverAsync(dom0, _ => null);
        await AttachEduAsync(dom0, guest);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        dom0.Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(Edu, (await dom0.Events.NextAsync<BackendEvents.GuestKilled>()).Device);
        Assert.Equal([Edu, Spare], dom0.Quarantine.Devices.Select(quarantined => quarantined.Device));
    }

    [Fact]
    public async Task A_guest_that_shuts_down_meanwhile_is_not_ended()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, _ => null);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        await dom0.Xen.ShutDownGuestAsync(guest);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.False(guest.IsCrashed);
    }

    [Fact]
    public async Task A_recovery_cut_short_by_a_failure_begins_again()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var thought = new TaskCompletionSource();
        var guest = await GuestWithDriverAsync(dom0, async asked =>
        {
            await thought.Task;
            return asked.Command == Detected ? CanRecover : Recovered;
        });
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
        dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Spare);
        Assert.Equal(NicRevision, await guest.Device(0).ReadAsync(Register.Revision));
        thought.SetResult();
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal(["6/1 at 00:00", "8/1 at 00:00", "7/1 at 00:00"], Steps(guest)[^3..]);
    }

    [Fact]
    public async Task Two_devices_of_a_guest_are_recovered_one_after_the_other()
    {
        await using var dom0 = await TestDom0.StartAsync(Recovering);
        var guest = await GuestWithDriverAsync(dom0, asked => asked.Command == Detected ? CanRecover : Recovered);
        await AttachEduAsync(dom0, guest);
        dom0.Xen.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        dom0.Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
        Assert.Equal(6, guest.Frontend.Questions.Count);
    }

    private static void Wipe(TestDom0 dom0)
    {
        var card = dom0.Xen.Pci[Spare];
        card.Force(Register.Command, 0);
        for (var bar = 0; bar < 6; bar++) card.Force(Register.Bar(bar), 0);
        card.Force(NicRegister.MsixControl, card.Read(NicRegister.MsixControl) & 0x3FFF);
    }
}
