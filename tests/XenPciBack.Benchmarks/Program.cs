using System.Diagnostics;
using System.Globalization;
using XenPciBack.Actors.Status;
using XenPciBack.Benchmarks;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;

// What it costs a guest that somebody watches: the same requests to a backend nobody looks at, and to one that is scraped and asked for its status ten times as
// often as is usual. Rounds alternate, so that both have the same share of whatever else the machine does; the median of the rounds counts.
const int Rounds = 15, Requests = 5_000, Countings = 2_000_000;

await using var alone = await Host.StartAsync(isWatched: false);
await using var watched = await Host.StartAsync(isWatched: true);
await alone.AskAsync(Requests);
await watched.AskAsync(Requests);

var (quiet, observed) = (new List<double[]>(), new List<double[]>());
for (var round = 0; round < Rounds; round++)
{
    quiet.Add(await alone.AskAsync(Requests));
    using var stop = new CancellationTokenSource();
    var looking = watched.LookAsync(TimeSpan.FromMilliseconds(100), stop.Token);
    observed.Add(await watched.AskAsync(Requests));
    await stop.CancelAsync();
    await looking;
}

Print($"event to answer as the guest sees it, median of {Rounds} rounds of {Requests} requests");
Print($"{"",-24}{"p50",12}{"p99",12}");
Print($"{"nobody looks",-24}{Of(quiet, 0.5),9:0.0} us{Of(quiet, 0.99),9:0.0} us");
Print($"{"scraped, status asked",-24}{Of(observed, 0.5),9:0.0} us{Of(observed, 0.99),9:0.0} us");
Print($"{"ratio",-24}{Of(observed, 0.5) / Of(quiet, 0.5),12:0.00}{Of(observed, 0.99) / Of(quiet, 0.99),12:0.00}");
Print($"counting one operation takes {Counting():0} ns, {Counting() / Of(quiet, 0.5) / 10:0.0} % of the p50 above, where it is included");

static double Of(List<double[]> rounds, double quantile) => Median([.. rounds.Select(round => round.Order().ElementAt((int)(quantile * (round.Length - 1))))]);

static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

// All that the data plane does for its instruments.
static double Counting()
{
    var meter = new GuestMeter(new DomainId(1));
    var rounds = new double[5];
    for (var round = 0; round < rounds.Length; round++)
    {
        var began = Stopwatch.GetTimestamp();
        for (var i = 0; i < Countings; i++)
        {
            meter.Arrived();
            meter.Dispatched();
            meter.Answered(meter.Find(default), PciOpCode.ConfRead, PciOpError.Success, isLate: false);
        }
        rounds[round] = Stopwatch.GetElapsedTime(began).TotalNanoseconds / Countings;
    }
    return Median(rounds);
}

static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
