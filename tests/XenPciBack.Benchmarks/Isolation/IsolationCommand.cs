using System.CommandLine;
using System.Globalization;

namespace XenPciBack.Benchmarks.Isolation;

/// <summary>
/// What a guest's device that hangs costs the other guests: they ask at a fixed rate, once beside a device that takes
/// five seconds for every access, once beside the same device as it should be. The two alternate, so that both have the
/// same share of whatever else the machine does; the medians of the rounds count.
/// </summary>
internal static class IsolationCommand
{
    private const int Rounds = 9;

    private static readonly TimeSpan Round = TimeSpan.FromSeconds(6), QuickRound = TimeSpan.FromMilliseconds(200);

    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "One short round, to see that it runs" };
        var command = new Command("isolation", """
            What a guest's device that takes 5 s for each access costs
            the other guests: with an event loop for each guest, and
            with four guests on each; about five minutes.
            """) { quick };
        command.SetAction(async (parse, _) =>
        {
            var isQuick = parse.GetValue(quick);
            Console.WriteLine(Machine.Here());
            await RunAsync("an event loop for each guest", guests: 16, loops: 16, isQuick);
            await RunAsync("four guests on each event loop", guests: 16, loops: 4, isQuick);
            return 0;
        });
        return command;
    }

    private static async Task RunAsync(string title, int guests, int loops, bool isQuick)
    {
        await using var host = await IsolationHost.StartAsync(guests, loops);
        var (round, rounds) = isQuick ? (QuickRound, 1) : (Round, Rounds);
        // The first time much is compiled.
        await host.AskAsync(round, hangs: false);
        var (good, bad) = (new List<IsolationRound>(), new List<IsolationRound>());
        for (var i = 0; i < rounds; i++)
        {
            good.Add(await host.AskAsync(round, hangs: false));
            bad.Add(await host.AskAsync(round, hangs: true));
        }
        Console.WriteLine(
            $"{title}: {guests - 1} guests ask beside one, {rounds} rounds of {round.TotalSeconds} s each");
        Print("beside a device that works", good);
        Print("beside a device that takes 5 s", bad);
        var ratio = Median(bad, r => r.P99) / Median(good, r => r.P99);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"p99 ratio {ratio:0.00}, longest {bad.Max(r => r.Longest):0.0} ms, "
            + $"control's longest {good.Max(r => r.Longest):0.0} ms"));
    }

    private static void Print(string name, List<IsolationRound> rounds) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {name,-32} p50 {1000 * Median(rounds, r => r.P50),5:0} us, "
            + $"p99 {1000 * Median(rounds, r => r.P99),6:0} us, "
            + $"longest {rounds.Max(r => r.Longest),6:0.0} ms, {rounds.Sum(r => r.Requests)} requests, "
            + $"CPU {100 * Median(rounds, r => r.Cpu):0} %"));

    private static double Median(List<IsolationRound> rounds, Func<IsolationRound, double> value) =>
        Statistics.Median(rounds.Select(value));
}

/// <summary>What the bystanders saw of one round; times in milliseconds.</summary>
/// <param name="Cpu">Processor time of this process, as a share of all cores.</param>
internal sealed record IsolationRound(double P50, double P99, double Longest, int Requests, double Cpu);
