using BenchmarkDotNet.Attributes;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>An error that a device reports: the kernel's words for it, and the steps of a recovery.</summary>
public class ErrorBenchmarks
{
    private const string TraceLine =
        "          <idle>-0       [001] d.h..   100.000001: aer_event: 0000:03:00.0 PCIe Bus Error: "
        + "severity=Uncorrected, non-fatal, Completion Timeout, TLP Header=Not available";

    private readonly AerError _error = AerTraceLine.TryParse(TraceLine)!;

    [Benchmark]
    public AerError? ParseTraceLine() => AerTraceLine.TryParse(TraceLine);

    [Benchmark]
    public AerMerge Merge() => new AerMerge().Traced(_error, TimeSpan.FromSeconds(1)).Next;

    /// <summary>A driver that can recover by itself: three questions, three answers.</summary>
    [Benchmark]
    public RecoveryEffect Recover()
    {
        var (recovery, _) = AerRecovery.Begin(AerSeverity.NonFatal);
        (recovery, _) = recovery.On(new RecoveryInput.Answered((int)AerVerdict.CanRecover));
        (recovery, _) = recovery.On(new RecoveryInput.Answered((int)AerVerdict.Recovered));
        return recovery.On(new RecoveryInput.Answered((int)AerVerdict.Recovered)).Effect;
    }
}
