using XenPciBack.Protocol.Aer;
using static XenPciBack.Protocol.Aer.RecoveryEffect;
using static XenPciBack.Protocol.Aer.RecoveryInput;

namespace XenPciBack.Protocol.Tests.Aer;

public class AerRecoveryTests
{
    private static readonly DeviceRestored Restored = new(Fault: null);

    private static Answered Says(AerVerdict verdict) => new((int)verdict);

    /// <returns>The effects, the first one before any input.</returns>
    private static List<RecoveryEffect> Run(AerSeverity severity, params RecoveryInput[] inputs)
    {
        var (recovery, effect) = AerRecovery.Begin(severity);
        var effects = new List<RecoveryEffect> { effect };
        foreach (var input in inputs)
        {
            (recovery, effect) = recovery.On(input);
            effects.Add(effect);
        }
        return effects;
    }

    [Fact]
    public void A_driver_that_can_recover_is_given_access_and_goes_on() => Assert.Equal(
        [new Ask(AerStep.Detected, AerChannel.Normal), new Ask(AerStep.MmioEnabled, AerChannel.Normal), new Ask(AerStep.Resume, AerChannel.Normal), new Succeeded()],
        Run(AerSeverity.NonFatal, Says(AerVerdict.CanRecover), Says(AerVerdict.Recovered), Says(AerVerdict.None)));

    [Fact]
    public void A_driver_that_has_lost_nothing_goes_on_at_once() => Assert.Equal(
        [new Ask(AerStep.Detected, AerChannel.Normal), new Ask(AerStep.Resume, AerChannel.Normal), new Succeeded()],
        Run(AerSeverity.NonFatal, Says(AerVerdict.Recovered), Says(AerVerdict.None)));

    [Fact]
    public void A_driver_that_needs_a_reset_gets_one_and_its_registers_back() => Assert.Equal(
        [new Ask(AerStep.Detected, AerChannel.Normal), new RestoreDevice(Reset: true), new Ask(AerStep.SlotReset, AerChannel.Normal), new Ask(AerStep.Resume, AerChannel.Normal), new Succeeded()],
        Run(AerSeverity.NonFatal, Says(AerVerdict.NeedsReset), Restored, Says(AerVerdict.Recovered), Says(AerVerdict.None)));

    [Fact]
    public void After_a_fatal_error_the_host_resets_the_link_and_the_driver_is_not_asked_before_the_registers_are_back() => Assert.Equal(
        [new RestoreDevice(Reset: false), new Ask(AerStep.Detected, AerChannel.Frozen), new Ask(AerStep.SlotReset, AerChannel.Normal), new Ask(AerStep.Resume, AerChannel.Normal), new Succeeded()],
        Run(AerSeverity.Fatal, Restored, Says(AerVerdict.NeedsReset), Says(AerVerdict.Recovered), Says(AerVerdict.None)));

    [Fact]
    public void A_driver_may_find_out_late_that_it_needs_a_reset() => Assert.Equal(
        [new Ask(AerStep.Detected, AerChannel.Normal), new Ask(AerStep.MmioEnabled, AerChannel.Normal), new RestoreDevice(Reset: true), new Ask(AerStep.SlotReset, AerChannel.Normal)],
        Run(AerSeverity.NonFatal, Says(AerVerdict.CanRecover), Says(AerVerdict.NeedsReset), Restored));

    [Theory]
    [InlineData(1, "nothing to say to aer_detected")]
    [InlineData(4, "given the device up at aer_detected")]
    [InlineData(6, "nothing to say to aer_detected")]
    [InlineData(0, "answered aer_detected with 0; expected")]
    [InlineData(77, "answered aer_detected with 77; expected 2 (can recover), 3 (needs reset) or 5 (recovered)")]
    [InlineData(int.MinValue, "answered aer_detected with -2147483648; expected")]
    public void Any_other_answer_is_the_end_and_is_named(int verdict, string reason) =>
        Assert.Contains(reason, Assert.IsType<Failed>(Run(AerSeverity.NonFatal, new Answered(verdict))[^1]).Reason, StringComparison.Ordinal);

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(77)]
    public void After_a_reset_only_recovered_counts(int verdict) =>
        Assert.IsType<Failed>(Run(AerSeverity.NonFatal, Says(AerVerdict.NeedsReset), Restored, new Answered(verdict))[^1]);

    [Fact]
    public void Silence_at_any_step_is_the_end_and_names_the_step()
    {
        RecoveryInput[][] stages = [[], [Says(AerVerdict.CanRecover)], [Says(AerVerdict.NeedsReset), Restored], [Says(AerVerdict.CanRecover), Says(AerVerdict.Recovered)]];
        string[] steps = ["aer_detected", "aer_mmio", "aer_slotreset", "aer_resume"];
        foreach (var (stage, step) in stages.Zip(steps))
            Assert.Equal(new Failed($"the guest has not answered {step} in time"), Run(AerSeverity.NonFatal, [.. stage, new Silent()])[^1]);
    }

    [Fact]
    public void A_device_that_cannot_be_restored_is_the_end() =>
        Assert.Equal(new Failed("the device cannot be restored: it is gone"), Run(AerSeverity.Fatal, new DeviceRestored("it is gone"))[^1]);

    [Fact]
    public void Every_answer_leads_to_an_end_in_a_few_steps()
    {
        var random = new Random(20261123);
        for (var run = 0; run < 2000; run++)
        {
            var (recovery, effect) = AerRecovery.Begin((AerSeverity)random.Next(1, 3));
            for (var steps = 0; effect is Ask or RestoreDevice; steps++)
            {
                Assert.InRange(steps, 0, 6);
                (recovery, effect) = recovery.On(effect is RestoreDevice ? Restored : new Answered(random.Next(-1, 8)));
            }
            Assert.True(effect is Succeeded or Failed);
        }
    }
}
