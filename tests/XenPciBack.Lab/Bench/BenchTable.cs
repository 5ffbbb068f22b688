using System.Globalization;

namespace XenPciBack.Lab.Bench;

/// <summary>The bench's result for a person, in at most 80 columns.</summary>
internal static class BenchTable
{
    private const int Width = 80;

    public static void Write(BenchResult result, TextWriter output)
    {
        WriteSetting(result, output);
        output.WriteLine();
        output.WriteLine($"{"",-34}{"median",10}{"lowest",11}{"highest",11}{"times",8}");
        foreach (var measure in result.Measures) WriteMeasure(measure, result.Ours, output);
        output.WriteLine();
        output.WriteLine("operations lost (\"pciback not responding\" in the guest's log)");
        foreach (var lost in result.Lost)
            output.WriteLine($"  {lost.During,-32}kernel {lost.Kernel.Sum()}, {result.Ours} {lost.Ours.Sum()}");
        if (result.DataPlane is not { } cost) return;
        output.WriteLine();
        WriteCost(cost, output);
    }

    private static void WriteSetting(BenchResult result, TextWriter output)
    {
        var setting = result.Setting;
        output.WriteLine($"lab bench: {result.Ours} beside the kernel's xen-pciback, alternating in one boot");
        output.WriteLine($"  release  {setting.Release}: Xen {setting.Xen}, Linux {setting.Linux} in dom0 and guest");
        output.WriteLine($"  clock    {setting.Clock} in dom0");
        output.WriteLine($"  device   {setting.Device}; {Number(setting.ReadsPerRound)} four-byte reads a round");
        output.WriteLine($"  commit   {setting.Commit}");
        output.WriteLine($"  date     {setting.Date.UtcDateTime:yyyy-MM-dd HH:mm} UTC");
        output.WriteLine(
            $"  machine  {setting.Processors} processors, load {setting.Load:0.00}, QEMU {setting.Qemu} without KVM");
    }

    private static void WriteMeasure(Measure measure, string ours, TextWriter output)
    {
        output.WriteLine($"{$"{measure.Name}, {measure.Unit}",-45}{$"ratio ours/kernel {measure.Ratio:0.00}",29}");
        WriteSpread("kernel", Spread.Of(measure.Kernel), output);
        WriteSpread(ours, Spread.Of(measure.Ours), output);
    }

    private static void WriteSpread(string backend, Spread spread, TextWriter output)
    {
        var (median, lowest, highest) = (Number(spread.Median), Number(spread.Lowest), Number(spread.Highest));
        output.WriteLine($"  {backend,-32}{median,10}{lowest,11}{highest,11}{spread.Count,8}");
    }

    private static void WriteCost(DataPlaneCost cost, TextWriter output)
    {
        output.WriteLine("per config read, in the daemon");
        var (user, system) = (Spread.Of(cost.User), Spread.Of(cost.System));
        output.WriteLine($"  processor time of thread {cost.Thread}, us: "
            + $"user {Number(user.Median)}, system {Number(system.Median)} ({user.Count} rounds)");
        WriteCalls("its system calls", cost.Calls, output);
        WriteCalls("those of all other threads", cost.OtherCalls, output);
    }

    /// <summary>The calls by name, in lines that fit; those below one in two hundred reads are left out.</summary>
    private static void WriteCalls(string whose, IReadOnlyList<CallsPerRead> calls, TextWriter output)
    {
        var line = $"  {whose}: {calls.Sum(call => call.Count):0.00} in all";
        foreach (var call in calls.Where(call => call.Count >= 0.005))
        {
            var word = $"{call.Name} {call.Count:0.00}";
            // A comma follows each but the last.
            if (line.Length + ", ".Length + word.Length < Width)
            {
                line += $", {word}";
                continue;
            }
            output.WriteLine($"{line},");
            line = $"    {word}";
        }
        output.WriteLine(line);
    }

    private static string Number(double value) =>
        value.ToString(value < 10 ? "0.0" : "N0", CultureInfo.InvariantCulture);
}
