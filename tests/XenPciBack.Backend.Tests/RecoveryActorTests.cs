using Akka.Actor;
using Akka.TestKit;
using Akka.TestKit.Xunit2;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Backend.Tests;

/// <summary>The recovery of one device, step by step, as the guest's actor and the device's actor see it.</summary>
public sealed class RecoveryActorTests : TestKit
{
    private const int None = 1, CanRecover = 2, NeedsReset = 3, Disconnect = 4, Recovered = 5;

    private static readonly DomainId Web = new(1);

    private readonly TestProbe _guest, _device, _events;

    public RecoveryActorTests() 
    {
        (_guest, _device, _events) = (CreateTestProbe(), CreateTestProbe(), CreateTestProbe());
        Sys.EventStream.Subscribe(_events, typeof(BackendEvents.DeviceRecovered));
    }

    private static AerMonitor.Act Error(AerSeverity severity) =>
        new(Web, Nic, severity, $"{severity}", AerResponse.RecoverThenKill);

    private IActorRef Begin(AerSeverity severity) => _guest.ChildActorOf(RecoveryActor.Props(Error(severity), _device));

    private async Task AskedAsync(AerStep step, AerChannel channel = AerChannel.Normal) => Assert.Equal(
        new RecoveryActor.Question(Nic, new RecoveryEffect.Ask(step, channel)),
        await _guest.ExpectMsgAsync<RecoveryActor.Question>(Eventually.Patience));

    private async Task RestoresAsync(bool reset) =>
        Assert.Equal(reset, (await _device.ExpectMsgAsync<DeviceActor.Restore>(Eventually.Patience)).Reset);

    private async Task SucceedsAsync()
    {
        await _guest.ExpectMsgAsync(new RecoveryActor.Ended(Nic), Eventually.Patience);
        await _events.ExpectMsgAsync(new BackendEvents.DeviceRecovered(Web, Nic), Eventually.Patience);
        Assert.False(_device.HasMessages);
    }

    private async Task FailsAsync(IActorRef recovery, string reason)
    {
        await _device.WatchAsync(recovery);
        var failed = await _guest.ExpectMsgAsync<RecoveryActor.Failed>(Eventually.Patience);
        Assert.Contains(reason, failed.Reason, StringComparison.Ordinal);
        await _device.ExpectTerminatedAsync(recovery, Eventually.Patience);
        Assert.False(_guest.HasMessages || _events.HasMessages);
    }

    private static void Answer(IActorRef recovery, int verdict) => recovery.Tell(new RecoveryInput.Answered(verdict));

    [Fact]
    public async Task A_driver_that_can_recover_is_asked_for_mmio_and_then_to_resume()
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        Answer(recovery, CanRecover);
        await AskedAsync(AerStep.MmioEnabled);
        Answer(recovery, Recovered);
        await AskedAsync(AerStep.Resume);
        Answer(recovery, None);
        await SucceedsAsync();
    }

    [Fact]
    public async Task A_driver_that_needs_a_reset_is_asked_again_once_the_device_is_reset_and_restored()
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        Answer(recovery, NeedsReset);
        await RestoresAsync(reset: true);
        Assert.False(_guest.HasMessages);
        recovery.Tell(new RecoveryInput.DeviceRestored(null));
        await AskedAsync(AerStep.SlotReset);
        Answer(recovery, Recovered);
        await AskedAsync(AerStep.Resume);
        Answer(recovery, None);
        await SucceedsAsync();
    }

    [Fact]
    public async Task After_a_fatal_error_the_device_is_restored_before_the_driver_is_asked_and_not_reset_again()
    {
        var recovery = Begin(AerSeverity.Fatal);
        await RestoresAsync(reset: false);
        Assert.False(_guest.HasMessages);
        recovery.Tell(new RecoveryInput.DeviceRestored(null));
        await AskedAsync(AerStep.Detected, AerChannel.Frozen);
        Answer(recovery, NeedsReset);
        await AskedAsync(AerStep.SlotReset);
        Answer(recovery, Recovered);
        await AskedAsync(AerStep.Resume);
        Answer(recovery, None);
        await SucceedsAsync();
    }

    [Theory]
    [InlineData(None, "has nothing to say to aer_detected")]
    [InlineData(Disconnect, "has given the device up at aer_detected")]
    [InlineData(77, "answered aer_detected with 77")]
    public async Task A_verdict_that_is_no_recovery_loses_the_device_and_ends_the_actor(int verdict, string reason)
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        Answer(recovery, verdict);
        await FailsAsync(recovery, $"NonFatal; the guest{(verdict == 77 ? "" : "'s driver")} {reason}");
    }

    [Fact]
    public async Task A_guest_that_does_not_answer_a_step_in_time_loses_the_device()
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        Answer(recovery, CanRecover);
        await AskedAsync(AerStep.MmioEnabled);
        recovery.Tell(new RecoveryInput.Silent());
        await FailsAsync(recovery, "has not answered aer_mmio in time");
    }

    [Fact]
    public async Task A_device_that_cannot_be_restored_is_lost()
    {
        var recovery = Begin(AerSeverity.Fatal);
        await RestoresAsync(reset: false);
        recovery.Tell(new RecoveryInput.DeviceRestored("it does not answer"));
        await FailsAsync(recovery, "the device cannot be restored: it does not answer");
    }

    [Fact]
    public async Task More_of_the_same_error_changes_nothing()
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        recovery.Tell(Error(AerSeverity.NonFatal));
        Answer(recovery, Recovered);
        await AskedAsync(AerStep.Resume);
        Answer(recovery, None);
        await SucceedsAsync();
    }

    [Fact]
    public async Task A_worse_error_during_the_recovery_loses_the_device()
    {
        var recovery = Begin(AerSeverity.NonFatal);
        await AskedAsync(AerStep.Detected);
        recovery.Tell(Error(AerSeverity.Fatal));
        await FailsAsync(recovery, "NonFatal; another error came during the recovery, Fatal");
    }
}
