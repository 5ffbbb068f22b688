using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Aer;

/// <summary>How a device is reached, as a driver's error handler is told (<c>aer_op.err</c> of aer_detected; Linux pci_channel_state).</summary>
public enum AerChannel
{
    Normal = 1,

    /// <summary>Nothing reaches the device until it has been reset.</summary>
    Frozen = 2,
    PermanentFailure = 3,
}

/// <summary>What a driver's error handler answers (<c>aer_op.err</c>; Linux pci_ers_result). A guest can answer any other number.</summary>
public enum AerVerdict
{
    /// <summary>It has no opinion: no driver, or one without error handlers.</summary>
    None = 1,
    CanRecover = 2,
    NeedsReset = 3,

    /// <summary>The device is lost to it.</summary>
    Disconnect = 4,
    Recovered = 5,
    NoAerDriver = 6,
}

/// <summary>What a guest is asked, one at a time: the opcodes of the shared page that are the backend's.</summary>
public enum AerStep : uint
{
    Detected = PciOpCode.AerDetected,
    Resume = PciOpCode.AerResume,
    MmioEnabled = PciOpCode.AerMmio,
    SlotReset = PciOpCode.AerSlotReset,
}

/// <summary>What happened that a recovery has to know.</summary>
public abstract record RecoveryInput
{
    private RecoveryInput() { }

    /// <param name="Verdict">As the guest wrote it, whatever it is.</param>
    public sealed record Answered(int Verdict) : RecoveryInput;

    /// <summary>The guest has not answered in time.</summary>
    public sealed record Silent : RecoveryInput;

    /// <param name="Fault">null if the device is back as the guest had set it up, else why not.</param>
    public sealed record DeviceRestored(string? Fault) : RecoveryInput;
}

/// <summary>What a recovery wants done; its outcome comes back as a <see cref="RecoveryInput"/>.</summary>
public abstract record RecoveryEffect
{
    private RecoveryEffect() { }

    /// <param name="Channel">What <c>aer_op.err</c> says when the guest is asked.</param>
    public sealed record Ask(AerStep Step, AerChannel Channel) : RecoveryEffect;

    /// <summary>Give the device the registers that the guest had set up.</summary>
    /// <param name="Reset">Reset it before; false: the host resets everything below the port, which is waited for.</param>
    public sealed record RestoreDevice(bool Reset) : RecoveryEffect;

    /// <summary>The guest's driver goes on with the device.</summary>
    public sealed record Succeeded : RecoveryEffect;

    public sealed record Failed(string Reason) : RecoveryEffect;
}

/// <summary>
/// A guest's driver takes its device through an uncorrectable error, with the steps Linux gives a driver of its own:
/// <code>
///   detected --can recover--> mmio --recovered--> resume --> done
///   detected --needs reset--> (device reset and restored) --> slot reset --recovered--> resume --> done
///   detected --recovered--> resume          mmio --needs reset--> as above
///           a fatal error: restored before anything is asked, and not reset again, because the host resets the link
///   any other answer, silence, a device that cannot be restored: failed
/// </code>
/// </summary>
/// <remarks>
/// Restored before anything is asked: a driver that hears of the error lets go of its interrupts, and Xen masks the MSI-X of a function
/// that does not decode memory for good.
/// Steps: Linux Documentation/PCI/pci-error-recovery.rst; their form in the shared page: xen/interface/io/pciif.h.
/// </remarks>
public sealed record AerRecovery
{
    private readonly AerSeverity _severity;

    private AerRecovery(AerSeverity severity) => _severity = severity;

    /// <summary>What the guest was asked last.</summary>
    public AerStep Step { get; private init; } = AerStep.Detected;

    private bool IsRestoring { get; init; }

    // The step that follows the restoring.
    private AerStep After { get; init; }

    public static (AerRecovery, RecoveryEffect) Begin(AerSeverity severity) =>
        severity == AerSeverity.Fatal
            ? new AerRecovery(severity).Restore(reset: false, AerStep.Detected)
            : new AerRecovery(severity).Ask(AerStep.Detected);

    public (AerRecovery Next, RecoveryEffect Effect) On(RecoveryInput input) => input switch
    {
        RecoveryInput.Silent => Fail($"the guest has not answered {NameOf(Step)} in time"),
        RecoveryInput.DeviceRestored(var fault) when IsRestoring =>
            fault is null ? (this with { IsRestoring = false }).Ask(After) : Fail($"the device cannot be restored: {fault}"),
        RecoveryInput.Answered(var verdict) when !IsRestoring => OnVerdict(verdict),
        _ => throw new ArgumentOutOfRangeException(nameof(input), input, $"not expected at {NameOf(Step)}{(IsRestoring ? ", restoring" : "")}"),
    };

    private (AerRecovery, RecoveryEffect) OnVerdict(int verdict) => (Step, (AerVerdict)verdict) switch
    {
        (AerStep.Resume, _) => (this, new RecoveryEffect.Succeeded()),
        (AerStep.Detected, AerVerdict.CanRecover) => Ask(AerStep.MmioEnabled),
        (AerStep.Detected, AerVerdict.NeedsReset) => _severity == AerSeverity.Fatal ? Ask(AerStep.SlotReset) : Restore(reset: true, AerStep.SlotReset),
        (AerStep.Detected, AerVerdict.Recovered) => Ask(AerStep.Resume),
        (AerStep.MmioEnabled, AerVerdict.NeedsReset) => Restore(reset: true, AerStep.SlotReset),
        (AerStep.MmioEnabled or AerStep.SlotReset, AerVerdict.Recovered) => Ask(AerStep.Resume),
        (_, AerVerdict.None or AerVerdict.NoAerDriver) => Fail($"the guest's driver has nothing to say to {NameOf(Step)}"),
        (_, AerVerdict.Disconnect) => Fail($"the guest's driver has given the device up at {NameOf(Step)}"),
        _ => Fail($"the guest answered {NameOf(Step)} with {verdict}; expected {Expected}"),
    };

    private string Expected => Step switch
    {
        AerStep.Detected => "2 (can recover), 3 (needs reset) or 5 (recovered)",
        AerStep.MmioEnabled => "5 (recovered) or 3 (needs reset)",
        _ => "5 (recovered)",
    };

    private (AerRecovery, RecoveryEffect) Ask(AerStep step) =>
        (this with { Step = step }, new RecoveryEffect.Ask(step, step == AerStep.Detected && _severity == AerSeverity.Fatal ? AerChannel.Frozen : AerChannel.Normal));

    private (AerRecovery, RecoveryEffect) Restore(bool reset, AerStep after) => (this with { IsRestoring = true, After = after }, new RecoveryEffect.RestoreDevice(reset));

    private (AerRecovery, RecoveryEffect) Fail(string reason) => (this, new RecoveryEffect.Failed(reason));

    private static string NameOf(AerStep step) => step switch
    {
        AerStep.Detected => "aer_detected",
        AerStep.MmioEnabled => "aer_mmio",
        AerStep.SlotReset => "aer_slotreset",
        _ => "aer_resume",
    };
}
