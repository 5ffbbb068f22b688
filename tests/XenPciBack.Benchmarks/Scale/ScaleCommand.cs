using System.CommandLine;
using System.Text.Json;

namespace XenPciBack.Benchmarks.Scale;

/// <summary>
/// What each guest costs when there are many. The sizes are measured one after the other, several times, each on an
/// embedded host of its own; the medians count.
/// </summary>
internal static class ScaleCommand
{
    // More guests than 2,000 need more sockets than a process may open by default.
    private const int MostGuests = 2000, GuestsOfWarmUp = 10, Destroyed = 5;

    private static readonly JsonSerializerOptions Readable =
        new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>How much is measured.</summary>
    /// <param name="Ask">How long all guests ask, and before that for as long without being measured.</param>
    private sealed record Effort(int Rounds, TimeSpan Settling, TimeSpan Idle, TimeSpan Ask)
    {
        private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(50);

        public static readonly Effort
            Full = new(3, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(3)),
            Quick = new(1, Moment, Moment, Moment);
    }

    public static Command Create()
    {
        var guests = new Option<string>("--guests")
        {
            Description = "How many guests",
            HelpName = "N,N,...",
            DefaultValueFactory = _ => "1,10,100,1000",
        };
        guests.Validators.Add(parsed =>
        {
            var text = parsed.GetValueOrDefault<string>();
            if (SizesIn(text).Any(size => size is < 1 or > MostGuests))
                parsed.AddError(
                    $"--guests is '{text}'; expected numbers from 1 to {MostGuests} with commas between them");
        });
        var quick = new Option<bool>("--quick") { Description = "One short round, to see that it runs" };
        var json = new Option<FileInfo?>("--json")
        {
            Description = "Write what each round measured",
            HelpName = "FILE",
        };
        var picture = new Option<FileInfo?>("--picture")
        {
            Description = "Draw how long requests took (SVG)",
            HelpName = "FILE",
        };
        var command = new Command("scale", """
            What a guest costs when there are many: time to connect, memory of
            the backend, idle CPU, operations a second, latency, xl destroy;
            about ten minutes.
            """) { guests, quick, json, picture };
        command.SetAction(async (parse, _) =>
        {
            var effort = parse.GetValue(quick) ? Effort.Quick : Effort.Full;
            await RunAsync(SizesIn(parse.GetValue(guests)!), effort, parse.GetValue(json), parse.GetValue(picture));
            return 0;
        });
        return command;
    }

    private static int[] SizesIn(string text) =>
        [.. text.Split(',').Select(part => int.TryParse(part, out var size) ? size : 0).Distinct().Order()];

    private static async Task RunAsync(int[] sizes, Effort effort, FileInfo? json, FileInfo? picture)
    {
        var machine = Machine.Here();
        Console.WriteLine(machine);
        // The first time much is compiled.
        await MeasureAsync(GuestsOfWarmUp, effort, ofBackendItself: 0);
        var rounds = new List<ScaleRound>();
        var latencies = sizes.ToDictionary(size => size, _ => new List<float>());
        for (var i = 0; i < effort.Rounds; i++)
        {
            var ofBackendItself = await MeasureEmptyAsync();
            foreach (var size in sizes)
            {
                Console.Error.WriteLine($"round {i + 1} of {effort.Rounds}: {size} guests");
                var (round, took) = await MeasureAsync(size, effort, ofBackendItself);
                rounds.Add(round);
                latencies[size].AddRange(took);
            }
        }
        Console.Write(ScaleReport.Of(rounds));
        if (json is not null)
        {
            var numbers = new { Machine = machine, Effort = effort, Rounds = rounds };
            await File.WriteAllTextAsync(json.FullName, JsonSerializer.Serialize(numbers, Readable) + "\n");
        }
        if (picture is not null)
        {
            var lines = sizes.Select(
                size => (size == 1 ? "1 guest" : $"{size:N0} guests", (IReadOnlyList<float>)latencies[size]));
            await File.WriteAllTextAsync(picture.FullName, LatencyPicture.Draw(lines));
        }
    }

    private static async Task<long> MeasureEmptyAsync()
    {
        await using var host = await ScaleHost.StartAsync();
        return await host.EndBackendAsync();
    }

    /// <param name="ofBackendItself">Bytes that the backend has before the first guest.</param>
    private static async Task<(ScaleRound, float[] SortedLatencies)> MeasureAsync(
        int guests, Effort effort, long ofBackendItself)
    {
        await using var host = await ScaleHost.StartAsync();
        var connect = await host.ConnectAsync(guests);
        var idle = 100 * await ScaleHost.IdleAsync(effort.Settling, effort.Idle);
        await host.AskAsync(effort.Ask);
        var took = await host.AskAsync(effort.Ask);
        Array.Sort(took);
        var destroys = new List<double>();
        for (var i = 0; i < Destroyed; i++) destroys.Add((await host.DestroyAsync()).TotalMilliseconds);
        var memory = await host.EndBackendAsync() - ofBackendItself;
        var idleWithoutBackend = 100 * await ScaleHost.IdleAsync(effort.Settling, effort.Idle);
        return (new ScaleRound(
            guests, connect.TotalMilliseconds / guests, memory / 1024.0 / guests, idle, idleWithoutBackend,
            took.Length / effort.Ask.TotalSeconds,
            Statistics.Quantile(took, 0.5), Statistics.Quantile(took, 0.99), Statistics.Median(destroys)), took);
    }
}
