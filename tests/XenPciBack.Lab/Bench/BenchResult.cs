using System.Text.Encodings.Web;
using System.Text.Json;

namespace XenPciBack.Lab.Bench;

/// <summary>Everything a run of the bench measured: what the table shows, and each single value for scripts.</summary>
/// <param name="Ours">Who is compared with the kernel's backend: "daemon", or "kernel again".</param>
/// <param name="DataPlane">What a config read costs the daemon; null where no daemon ran.</param>
internal sealed record BenchResult(
    BenchSetting Setting, string Ours, IReadOnlyList<Measure> Measures, IReadOnlyList<LostOperations> Lost,
    DataPlaneCost? DataPlane)
{
    private static readonly JsonSerializerOptions Format = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public string ToJson() => JsonSerializer.Serialize(this, Format);
}

/// <summary>Where, when and with what a bench ran.</summary>
internal sealed record BenchSetting
{
    public required string Release { get; init; }

    public required string Xen { get; init; }

    public required string Linux { get; init; }

    /// <summary>dom0's clock source.</summary>
    public required string Clock { get; init; }

    public required string Device { get; init; }

    public required int ReadsPerRound { get; init; }

    public required string Commit { get; init; }

    public required DateTimeOffset Date { get; init; }

    /// <summary>How many processors the machine around the lab has.</summary>
    public required int Processors { get; init; }

    public required string Qemu { get; init; }

    /// <summary>That machine's load average before the lab booted.</summary>
    public required double Load { get; init; }
}

/// <summary>One thing measured under both backends; every value that counts.</summary>
internal sealed record Measure(string Name, string Unit, IReadOnlyList<double> Kernel, IReadOnlyList<double> Ours)
{
    /// <summary>The medians' ratio: above 1, ours takes longer.</summary>
    public double Ratio => Spread.Of(Ours).Median / Spread.Of(Kernel).Median;
}

/// <summary>
/// How often a guest's kernel logged "pciback not responding" in each round of reads: operations that it gave up.
/// </summary>
internal sealed record LostOperations(string During, IReadOnlyList<int> Kernel, IReadOnlyList<int> Ours);
