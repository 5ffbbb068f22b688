using System.Collections.Concurrent;
using Akka.TestKit;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests;

/// <summary>A guest's driver is offered a recovery before its guest is ended.</summary>
public class RecoveryTests : BackendTest
{
    private const uint CompletionTimeout = 1 << 14;
    private const int CanRecover = 2, NeedsReset = 3, Disconnect = 4, Recovered = 5;

    private static readonly HostBdf Card = HostBdf.Parse("0000:06:00.0");

    private static readonly BackendSettings Recovering = Settings with { Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = TimeSpan.FromHours(1) } };

    private async Task<(SimulatedGuest Guest, TestProbe Events)> GuestWithDriverAsync(Func<ErrorQuestion, int?> driver, bool takesAer = true, BackendSettings? settings = null)
    {
        await RestartBackendAsync(settings ?? Recovering);
        Xen.OnCrash = OnCrash.Preserve;
        Xen.Pci.Plug(Intel82574.At(Card).Resettable());
        var events = CreateTestProbe();
        Sys.EventStream.Subscribe(events, typeof(BackendEvents.GuestKilled));
        Sys.EventStream.Subscribe(events, typeof(BackendEvents.DeviceRecovered));
        var guest = await Xen.CreateGuestAsync("web", [Card], new FrontendOptions { TakesAer = takesAer, Driver = question => ValueTask.FromResult(driver(question)) });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        return (guest, events);
    }

    private static string[] Steps(SimulatedGuest guest) =>
        [.. guest.Frontend.Questions.Select(question => $"{question.Command}/{question.Channel} at {question.Bus:x2}:{question.DevFn:x2}")];

    [Fact]
    public async Task A_driver_that_can_recover_keeps_its_guest_alive()
    {
        var (guest, events) = await GuestWithDriverAsync(question => question.Command == 6 ? CanRecover : Recovered);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(new BackendEvents.DeviceRecovered(guest.Id, Card), await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience));
        Assert.Equal(["6/1 at 00:00", "8/1 at 00:00", "7/1 at 00:00"], Steps(guest));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
    }

    [Theory]
    [InlineData(AerSeverity.NonFatal, "6/1", 1)]
    [InlineData(AerSeverity.Fatal, "6/2", 0)]
    public async Task A_driver_that_needs_a_reset_has_its_device_as_it_had_set_it_up(AerSeverity severity, string first, int resets)
    {
        var (guest, events) = await GuestWithDriverAsync(question => question.Command == 6 ? NeedsReset : Recovered);
        await TurnOnMemoryAsync(guest);
        Assert.Equal(0, (await EnableMsixAsync(guest, 0, 1)).Error);
        // A fatal error: the host resets everything below the port.
        if (severity == AerSeverity.Fatal) Wipe();

        Xen.Aer.Inject(Card, severity, CompletionTimeout);
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);

        Assert.Equal([$"{first} at 00:00", "9/1 at 00:00", "7/1 at 00:00"], Steps(guest));
        Assert.Equal(resets, Xen.Pci[Card].Resets);
        Assert.Equal(0x0406u, Xen.Pci[Card].Read(0x04, 2) & 0x0406);
        Assert.Equal(0x8000u, Xen.Pci[Card].Read(0xA2, 2) & 0xC000);
        Assert.NotEqual(0u, Xen.Pci[Card].Read(0x10, 4) & 0xFFFF_F000);
    }

    [Fact]
    public async Task After_a_fatal_error_the_host_resets_the_device_and_the_driver_hears_of_it_with_its_registers_back()
    {
        var commands = new ConcurrentQueue<uint>();
        var (guest, events) = await GuestWithDriverAsync(question =>
        {
            commands.Enqueue(Xen.Pci[Card].Read(0x04, 2) & 0x0002);
            return question.Command == 6 ? NeedsReset : Recovered;
        });
        await TurnOnMemoryAsync(guest);
        Xen.Aer.Inject(Card, AerSeverity.Fatal, CompletionTimeout);
        // The host takes its time between the two.
        await Task.Delay(200);
        Wipe();
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        Assert.Equal([2u, 2u, 2u], commands);
        Assert.Equal(2u, Xen.Pci[Card].Read(0x04, 2) & 0x0002);
        Assert.Equal(0, Xen.Pci[Card].Resets);
    }

    [Fact]
    public async Task A_device_that_the_host_does_not_reset_after_a_fatal_error_is_reset_by_the_backend()
    {
        var (_, events) = await GuestWithDriverAsync(question => question.Command == 6 ? NeedsReset : Recovered);
        Xen.Aer.Inject(Card, AerSeverity.Fatal, CompletionTimeout);
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        Assert.Equal(1, Xen.Pci[Card].Resets);
    }

    [Theory]
    [InlineData(1, "nothing to say to aer_detected")]
    [InlineData(Disconnect, "given the device up")]
    [InlineData(77, "answered aer_detected with 77")]
    public async Task A_driver_without_handlers_and_one_that_lies_lose_the_guest(int verdict, string reason)
    {
        var (guest, events) = await GuestWithDriverAsync(_ => verdict);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Contains(reason, (await events.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason, StringComparison.Ordinal);
        Assert.True(guest.IsCrashed);
    }

    [Fact]
    public async Task A_guest_that_cannot_be_asked_is_not_asked()
    {
        var (guest, events) = await GuestWithDriverAsync(_ => CanRecover, takesAer: false);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Contains("no error handling", (await events.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason, StringComparison.Ordinal);
        Assert.Empty(guest.Frontend.Questions);
    }

    [Fact]
    public async Task A_silent_guest_is_waited_for_as_long_as_the_settings_say_and_blocks_nobody()
    {
        var (guest, events) = await GuestWithDriverAsync(_ => null, settings: Settings with { Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = TimeSpan.FromMilliseconds(300) } });
        var bystander = await ConnectedGuestAsync("lab", Edu);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.Contains("has not answered aer_detected in time", (await events.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_drivers_handlers_use_the_device_while_the_backend_waits_for_them()
    {
        SimulatedGuest? guest = null;
        await RestartBackendAsync(Recovering);
        Xen.Pci.Plug(Intel82574.At(Card));
        var events = CreateTestProbe();
        Sys.EventStream.Subscribe(events, typeof(BackendEvents.DeviceRecovered));
        var read = new List<uint>();
        guest = await Xen.CreateGuestAsync("web", [Card], new FrontendOptions
        {
            Driver = async question =>
            {
                read.Add(await ReadConfigAsync(guest!, 0, 0, 4));
                return question.Command == 6 ? CanRecover : Recovered;
            },
        });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        Assert.Equal([0x10D3_8086u, 0x10D3_8086u, 0x10D3_8086u], read);
    }

    [Fact]
    public async Task A_worse_error_during_the_recovery_is_the_end()
    {
        var (guest, events) = await GuestWithDriverAsync(_ => null);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        Xen.Aer.Inject(Card, AerSeverity.Fatal, CompletionTimeout);
        Assert.Contains("another error came during the recovery, fatal", (await events.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_that_is_taken_away_meanwhile_needs_no_recovery_and_the_next_question_gets_its_turn()
    {
        var (guest, _) = await GuestWithDriverAsync(_ => null);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == 2, Soon());
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        await Xen.Toolstack.DetachAsync(guest.Id, Card);
        // The address in the question that waits now.
        await EventuallyAsync(1 << 3, () => guest.Frontend.Page.Bytes[568]);
        Assert.False(guest.IsCrashed);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 1 << 3, 0, 4));
    }

    [Fact]
    public async Task A_device_whose_recovery_is_cut_short_by_the_loss_of_another_is_set_aside_too()
    {
        var (guest, events) = await GuestWithDriverAsync(_ => null, settings: Recovering with { Aer = Recovering.Aer with { ByDevice = Recovering.Aer.ByDevice.Add(Edu, AerResponse.Kill) } });
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == 2, Soon());
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(Edu, (await events.ExpectMsgAsync<BackendEvents.GuestKilled>(Patience)).Device);
        Assert.Equal([Edu, Card], Quarantine.Devices.Select(quarantined => quarantined.Device));
    }

    [Fact]
    public async Task A_guest_that_lets_go_of_its_devices_meanwhile_is_not_ended()
    {
        var (guest, _) = await GuestWithDriverAsync(_ => null);
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        await Xen.ShutDownGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.False(guest.IsCrashed);
    }

    [Fact]
    public async Task A_recovery_cut_short_by_a_failure_begins_anew()
    {
        using var think = new ManualResetEventSlim();
        var (guest, events) = await GuestWithDriverAsync(question =>
        {
            think.Wait(Patience);
            return question.Command == 6 ? CanRecover : Recovered;
        });
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
        Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Card);
        Assert.Equal(0x0200_0000u, await ReadConfigAsync(guest, 0, 0x08, 4));
        think.Set();
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        Assert.Equal(["6/1 at 00:00", "8/1 at 00:00", "7/1 at 00:00"], Steps(guest)[^3..]);
    }

    [Fact]
    public async Task Two_devices_of_a_guest_are_brought_back_one_after_the_other()
    {
        var (guest, events) = await GuestWithDriverAsync(question => question.Command == 6 ? CanRecover : Recovered);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == 2, Soon());
        Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
        Xen.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        await events.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
        Assert.Equal(6, guest.Frontend.Questions.Count);
    }

    private void Wipe()
    {
        var card = Xen.Pci[Card];
        card.Force(0x04, 2, 0);
        for (var bar = 0x10; bar < 0x28; bar += 4) card.Force(bar, 4, 0);
        card.Force(0xA2, 2, card.Read(0xA2, 2) & 0x3FFF);
    }
}
