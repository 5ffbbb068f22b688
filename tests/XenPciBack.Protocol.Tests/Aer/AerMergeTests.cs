using XenPciBack.Protocol.Aer;

namespace XenPciBack.Protocol.Tests.Aer;

public class AerMergeTests
{
    private const uint Timeout = 1 << 14, Malformed = 1 << 18;
    private static readonly HostBdf Device = HostBdf.Parse("0000:01:00.0");
    private static readonly TimeSpan Soon = AerMerge.Grace / 2, Later = AerMerge.Grace;

    private readonly List<AerError> _told = [];
    private AerMerge _merge = new();
    private AerCounters _counters = AerCounters.None;
    private TimeSpan _now;

    [Fact]
    public void An_error_that_both_sources_tell_of_is_one_error_with_the_details_of_the_trace()
    {
        Look();
        Happen(Timeout);
        Look();
        Trace(Timeout);
        Wait(Later);
        Look();
        Assert.Equal(AerSource.Trace, Assert.Single(_told).Source);
    }

    [Fact]
    public void The_same_when_the_trace_comes_first()
    {
        Look();
        Happen(Timeout);
        Trace(Timeout);
        Wait(Later);
        Look();
        Wait(Later);
        Look();
        Assert.Single(_told);
    }

    [Fact]
    public void What_the_trace_has_lost_the_counters_tell()
    {
        Look();
        Happen(Timeout);
        Happen(Malformed);
        Look();
        Wait(Later);
        Look();
        var error = Assert.Single(_told);
        Assert.Equal((AerSource.Counters, 2L, Timeout | Malformed), (error.Source, error.Count, error.Status));
    }

    [Fact]
    public void The_trace_gets_some_time_before_the_counters_are_believed()
    {
        Look();
        Happen(Timeout);
        Look();
        Wait(Soon);
        Look();
        Assert.Empty(_told);
        Assert.True(_merge.Awaits(Device));
    }

    [Fact]
    public void A_record_that_comes_after_the_counters_have_told_is_not_told_again()
    {
        Look();
        Happen(Timeout);
        Look();
        Wait(Later);
        Look();
        Trace(Timeout);
        Assert.Single(_told);
    }

    [Fact]
    public void A_record_that_never_came_does_not_swallow_the_next_error()
    {
        Look();
        Happen(Timeout);
        Look();
        Wait(Later);
        Look();
        Wait(AerMerge.Lateness);
        Happen(Malformed);
        Trace(Malformed);
        Wait(Later);
        Look();
        Wait(Later);
        Look();
        Assert.Equal([(Timeout, AerSource.Counters), (Malformed, AerSource.Trace)], _told.Select(error => (error.Status, error.Source)));
    }

    [Fact]
    public void What_a_device_had_counted_before_anybody_looked_is_history()
    {
        Happen(Timeout);
        Look();
        Wait(Later);
        Look();
        Assert.Empty(_told);
    }

    [Fact]
    public void Errors_that_happened_while_nobody_watched_are_told_after_a_restart()
    {
        Look();
        Happen(Timeout);
        Trace(Timeout);
        var remembered = _merge.Told.ToList();
        Happen(Malformed);
        _merge = remembered.Aggregate(new AerMerge(), (merge, told) => merge.Remember(told.Device, told.Severity, told.Told));
        _told.Clear();
        Look();
        Wait(Later);
        Look();
        Assert.Equal(Malformed, Assert.Single(_told).Status);
    }

    [Fact]
    public void A_device_that_the_kernel_found_anew_starts_to_count_anew()
    {
        Look();
        Happen(Timeout);
        Trace(Timeout);
        _counters = AerCounters.None;
        Look();
        Happen(Malformed);
        Look();
        Wait(Later);
        Look();
        Assert.Equal([Timeout, Malformed], _told.Select(error => error.Status));
    }

    [Fact]
    public void Of_any_order_of_looks_and_records_every_error_comes_out_once()
    {
        var random = new Random(20261123);
        for (var run = 0; run < 500; run++)
        {
            (_merge, _counters) = (new AerMerge(), AerCounters.None);
            _told.Clear();
            Look();
            var (happened, lost, waiting) = (0, 0, new Queue<uint>());
            for (var step = 0; step < 60; step++)
            {
                switch (random.Next(5))
                {
                    case 0:
                        var status = 1u << random.Next(12, 26);
                        Happen(status);
                        happened++;
                        if (random.Next(4) == 0) lost++;
                        else waiting.Enqueue(status);
                        break;
                    case 1 when waiting.TryDequeue(out var traced):
                        Trace(traced);
                        break;
                    case 2:
                        Wait(TimeSpan.FromMilliseconds(random.Next(10)));
                        break;
                    default:
                        Look();
                        break;
                }
            }
            while (waiting.TryDequeue(out var traced)) Trace(traced);
            Look();
            Wait(Later);
            Look();
            Assert.Equal(happened, _told.Sum(error => error.Count));
            Assert.Equal(happened - lost, _told.Count(error => error.Source == AerSource.Trace));
        }
    }

    private void Happen(uint status) => _counters = _counters.Add(status);

    private void Wait(TimeSpan time) => _now += time;

    private void Look()
    {
        (_merge, var errors) = _merge.Counted(Device, AerSeverity.NonFatal, _counters, _now);
        _told.AddRange(errors);
    }

    private void Trace(uint status)
    {
        (_merge, var errors) = _merge.Traced(new AerError(Device, AerSeverity.NonFatal, status, [], AerSource.Trace), _now);
        _told.AddRange(errors);
    }
}
