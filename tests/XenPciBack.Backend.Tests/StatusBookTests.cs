using System.Diagnostics;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Tests;

/// <summary>The arithmetic of the status: rings that do not grow, latencies from buckets, rates over the last seconds.</summary>
public class StatusBookTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    [Fact]
    public void The_latest_incidents_are_kept_and_older_ones_forgotten()
    {
        var book = new IncidentBook();
        for (var i = 0; i < IncidentBook.Capacity + 100; i++) book.Add(new BackendEvents.GuestMisbehaved(new DomainId(1), $"{i}"), Start);
        Assert.Equal((IncidentBook.Capacity, 101, 600), (book.After(0).Length, book.After(0)[0].Number, book.After(0)[^1].Number));
        Assert.Equal([599, 600], book.After(598).Select(incident => incident.Number));
        Assert.Empty(book.After(600));
    }

    [Fact]
    public void An_error_is_decoded_bit_by_bit_with_the_first_one_and_the_packet()
    {
        var error = new AerError(Nic, AerSeverity.NonFatal, 1 << 14 | 1 << 20, [0x4A000001, 4, 0, 0], AerSource.Trace) { First = 20 };
        var incident = new IncidentBook().Add(new BackendEvents.DeviceError(error), Start)!;
        Assert.Equal([$"{Nic}, non-fatal, status 00104000, heard from the kernel's trace", "bit 14: Completion Timeout", "bit 20: Unsupported Request Error, the first", "TLP header 4a000001 00000004 00000000 00000000"],
            incident.Details.ToArray());
        Assert.EndsWith("no guest has it", incident.Summary, StringComparison.Ordinal);
    }

    [Fact]
    public void A_death_that_has_nothing_to_do_with_an_earlier_error_does_not_show_that()
    {
        var book = new IncidentBook();
        var error = new AerError(Nic, AerSeverity.Correctable, 1, [], AerSource.Counters);
        book.Add(new BackendEvents.DeviceError(error), Start);
        Assert.Empty(book.Add(new BackendEvents.GuestKilled(new DomainId(1), Nic, "it has gone from the host"), Start)!.Details);
        Assert.NotEmpty(book.Add(new BackendEvents.GuestKilled(new DomainId(1), Nic, $"{error}; the guest has no error handling"), Start)!.Details);
    }

    [Fact]
    public void A_guest_that_could_not_be_crashed_is_not_said_to_be_dead() =>
        Assert.Equal($"Guest 1 cannot be crashed (EPERM) and goes on without {Nic}, which is lost: it has gone from the host",
            new IncidentBook().Add(new BackendEvents.GuestKilled(new DomainId(1), Nic, "it has gone from the host") { Fault = "EPERM" }, Start)!.Summary);

    [Fact]
    public void A_guest_that_is_given_up_is_told_of_with_the_way_it_took()
    {
        var incident = new IncidentBook().Add(new BackendEvents.GuestAbandoned(new DomainId(1), "a bug", ["GuestActor: fails", "BackendSupervisor: gives it up"]), Start)!;
        Assert.Equal((IncidentKind.Abandoned, new DomainId(1)), (incident.Kind, incident.Guest));
        Assert.Equal(["GuestActor: fails", "BackendSupervisor: gives it up"], incident.Path.ToArray());
    }

    [Theory]
    [InlineData(1u << 14, "Completion Timeout"), InlineData(1u << 14 | 1u << 20, "several"), InlineData(0u, "unknown")]
    public void An_error_is_counted_under_the_name_of_its_bit_and_any_other_under_one_of_two(uint status, string name)
    {
        using var meters = new BackendMeters(TimeProvider.System);
        meters.Met(new AerError(Nic, AerSeverity.NonFatal, status, [], AerSource.Trace));
        Assert.Equal(name, Assert.Single(meters.Errors).Key.Status);
    }

    [Theory]
    [InlineData(0.4), InlineData(1), InlineData(1.3), InlineData(7.9), InlineData(8), InlineData(900), InlineData(2_000_000)]
    public void A_latency_lies_within_the_bounds_of_its_bucket(double microseconds)
    {
        var buckets = new LatencyBuckets();
        buckets.Add((long)(microseconds * Stopwatch.Frequency / 1e6));
        var bucket = Enumerable.Range(0, LatencyBuckets.Count).Single(i => buckets[i] == 1);
        Assert.InRange(microseconds, LatencyBuckets.LowerBound(bucket), LatencyBuckets.UpperBound(bucket));
    }

    [Fact]
    public void Latencies_out_of_all_bounds_are_counted_too()
    {
        var buckets = new LatencyBuckets();
        buckets.Add(-1);
        buckets.Add(long.MaxValue);
        Assert.Equal((1, 1), (buckets[0], buckets[LatencyBuckets.Count - 1]));
    }

    [Fact]
    public void Median_and_p99_are_within_a_bucket_of_the_truth()
    {
        var buckets = new LatencyBuckets();
        for (var i = 1; i <= 1000; i++) buckets.Add(i * Stopwatch.Frequency / 1_000_000);
        var latency = new LatencySnapshot([buckets]).Since(LatencySnapshot.Empty)!;
        Assert.InRange(latency.Median, 500 / 1.25, 500 * 1.25);
        Assert.InRange(latency.P99, 990 / 1.25, 990 * 1.25);
        Assert.InRange(latency.Longest, 1000, 1000 * 1.25);
    }

    [Fact]
    public void Rate_and_latency_are_those_of_the_last_seconds()
    {
        using var meters = new BackendMeters(TimeProvider.System);
        var guest = meters.Serve(new DomainId(1));
        var book = new StatusBook(meters, "dom0", "1", "4.17", Start);
        book.Change(new BackendEvents.GuestChanged(new DomainId(1), XenbusState.Connected, []));
        // A second with a hundred, ten with one each, and ten without any.
        for (var second = 0; second < 21; second++)
        {
            for (var i = 0; i < (second == 0 ? 100 : second <= 10 ? 1 : 0); i++)
            {
                guest.Arrived();
                guest.Dispatched();
                guest.Answered(null, PciOpCode.ConfRead, PciOpError.Success, isLate: false);
            }
            book.TakeSamples(Start.AddSeconds(second));
            var status = book.Write(Start.AddSeconds(second)).Guests.Single();
            if (second == 10) Assert.Equal(1, status.Rate, tolerance: 0.3);
            if (second == 20) Assert.Equal((0, null), (status.Rate, status.Latency));
        }
        Assert.Equal([new OperationCount("conf_read", "ok", 110)], book.Write(Start.AddSeconds(21)).Guests.Single().Operations.ToArray());
    }

    [Theory]
    [InlineData(0u, 0, "conf_read", "ok"), InlineData(1u, -3, "conf_write", "access_denied"), InlineData(5u, -5, "disable_msix", "op_failed"), InlineData(6u, -4, "unknown", "not_implemented")]
    [InlineData(uint.MaxValue, -28, "unknown", "errno"), InlineData(4u, 0x87, "enable_msix", "errno"), InlineData(2u, int.MinValue, "enable_msi", "errno")]
    public void Whatever_a_guest_asks_and_is_told_has_one_of_a_few_names(uint code, int error, string operation, string result)
    {
        var counts = new OperationCounts();
        counts.Add(OperationCounts.IndexOf((PciOpCode)code), (PciOpError)error, isLate: false);
        Assert.Equal([new OperationCount(operation, result, 1)], counts.All);
    }

    [Fact]
    public void An_answer_the_guest_had_given_up_waiting_for_is_late_whatever_it_says()
    {
        var counts = new OperationCounts();
        counts.Add(OperationCounts.IndexOf(PciOpCode.ConfRead), PciOpError.Success, isLate: true);
        Assert.Equal([new OperationCount("conf_read", "late", 1)], counts.All);
    }
}
