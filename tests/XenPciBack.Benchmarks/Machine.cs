using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;

namespace XenPciBack.Benchmarks;

/// <summary>Where and with what figures were measured; without it they say little.</summary>
internal sealed record Machine(
    string Processor, int Cores, double MemoryGiB, string System, string Runtime, string Commit, DateOnly Date)
{
    public static Machine Here()
    {
        var build = typeof(Machine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!;
        var processor = File.ReadLines("/proc/cpuinfo")
            .FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal));
        return new Machine(
            processor?.Split(':')[1].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString(),
            Environment.ProcessorCount,
            Math.Round(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1L << 30), 1),
            RuntimeInformation.OSDescription, RuntimeInformation.FrameworkDescription,
            build.InformationalVersion.Split('+') is [_, { Length: > 12 } commit] ? commit[..12] : "unknown",
            DateOnly.FromDateTime(DateTime.UtcNow));
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Processor}, {Cores} cores, {MemoryGiB:0.0} GiB, {System}, {Runtime}, commit {Commit}, {Date:yyyy-MM-dd}");
}
