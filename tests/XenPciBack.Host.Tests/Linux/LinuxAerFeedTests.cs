using System.Collections.Concurrent;
using System.Diagnostics;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>Errors are told once, from whichever source is there. A named pipe stands for trace_pipe.</summary>
public sealed class LinuxAerFeedTests : IDisposable
{
    private const string Nic = "0000:03:00.0", Tracing = "/sys/kernel/tracing", Instance = $"{Tracing}/instances/xenpciback";

    private readonly ScratchRoot _root = new();
    private readonly BlockingCollection<AerReport> _told = [];
    private FileStream? _trace;

    public LinuxAerFeedTests()
    {
        _root.WithDevice(Nic, "pciback", new byte[4096]).WithLink($"/sys/bus/pci/drivers/pciback/{Nic}", $"../../devices/{Nic}");
        Count(nonFatal: 0);
    }

    public void Dispose()
    {
        _trace?.Dispose();
        _told.Dispose();
        _root.Dispose();
    }

    [Fact]
    public void An_event_of_the_trace_is_told_in_full()
    {
        WithTrace();
        using var watch = Watch();
        Trace("0000:03:00.0 PCIe Bus Error: severity=Uncorrected, non-fatal, Completion Timeout, TLP Header={0x1,0x2,0x3,0x4}");
        var error = NextError();
        Assert.Equal("non-fatal: Completion Timeout, TLP header 00000001 00000002 00000003 00000004", error.ToString());
        Assert.Equal("ras:aer_event", File.ReadAllText($"{_root.Path}{Instance}/set_event"));
        Assert.Equal("0", File.ReadAllText($"{_root.Path}{Instance}/buffer_percent"));
    }

    [Fact]
    public void Of_two_errors_at_once_the_first_is_named_if_the_function_remembers_it()
    {
        var config = new byte[4096];
        // At 0x100 the capability for errors, at 0x118 the bit that came first.
        (config[0x100], config[0x118]) = (0x01, 18);
        File.WriteAllBytes($"{_root.DeviceDirectory(Nic)}/config", config);
        WithTrace();
        using var watch = Watch();
        Trace("0000:03:00.0 PCIe Bus Error: severity=Fatal, Completion Timeout|Malformed TLP, TLP Header=Not available");
        Assert.Equal("fatal: Completion Timeout | Malformed TLP, first Malformed TLP", NextError().ToString());
    }

    [Fact]
    public void Records_that_the_trace_has_dropped_are_said()
    {
        WithTrace();
        using var watch = Watch();
        _trace!.Write("CPU:1 [LOST 7 EVENTS]\n"u8);
        _trace.Flush();
        Assert.Equal(new AerReport.RecordsLost(7), Next());
    }

    [Fact]
    public async Task Without_a_trace_the_counters_tell_and_the_loss_is_said()
    {
        using var watch = Watch();
        Assert.Contains("tracing is not mounted", Assert.IsType<AerReport.SourceLost>(Next()).What, StringComparison.Ordinal);
        await FirstLookAsync();
        Count(nonFatal: 2);
        var error = NextError();
        Assert.Equal((AerSource.Counters, AerSeverity.NonFatal, 2L, 1u << 14), (error.Source, error.Severity, error.Count, error.Status));
    }

    [Fact]
    public async Task A_trace_that_was_switched_off_is_said_to_be_lost()
    {
        WithTrace();
        using var watch = Watch();
        await FirstLookAsync();
        _trace!.Dispose();
        Assert.Contains("switched off", Assert.IsType<AerReport.SourceLost>(Next()).What, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_next_daemon_tells_what_happened_in_between_and_nothing_twice()
    {
        WithTrace();
        var feed = NewFeed();
        using (feed.Watch(report => _told.Add(report)))
        {
            await FirstLookAsync();
            Count(nonFatal: 1);
            Trace("0000:03:00.0 PCIe Bus Error: severity=Uncorrected, non-fatal, Completion Timeout, TLP Header=Not available");
            Assert.Equal(AerSource.Trace, NextError().Source);
            feed.Handled(HostBdf.Parse(Nic), 1);
            // Until it is on record.
            await Eventually.IsTrueAsync(() =>
                File.ReadAllText(Record).Contains("\"NonFatal\":{\"Total\":1", StringComparison.Ordinal));
        }
        Count(nonFatal: 4);
        using (Watch())
        {
            var missed = NextError();
            Assert.Equal((AerSource.Counters, 3L), (missed.Source, missed.Count));
        }
    }

    [Fact]
    public async Task An_error_that_was_told_and_not_handled_is_told_again_by_the_next_daemon()
    {
        using (Watch()) await FirstLookAsync();
        Count(nonFatal: 2);
        using (Watch()) Assert.Equal(2, NextError().Count);
        var feed = NewFeed();
        using (feed.Watch(report => _told.Add(report)))
        {
            Assert.Equal(2, NextError().Count);
            feed.Handled(HostBdf.Parse(Nic), 1);
            await Eventually.IsTrueAsync(() =>
                File.ReadAllText(Record).Contains("\"NonFatal\":{\"Total\":2", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task An_error_that_was_told_is_not_told_again_to_the_same_daemon()
    {
        using (Watch()) await FirstLookAsync();
        Count(nonFatal: 2);
        var feed = NewFeed();
        using (feed.Watch(report => _told.Add(report))) Assert.Equal(2, NextError().Count);
        Count(nonFatal: 3);
        using (feed.Watch(report => _told.Add(report))) Assert.Equal(1, NextError().Count);
    }

    [Fact]
    public async Task Errors_from_before_the_watch_are_told_before_the_feed_says_that_all_were()
    {
        using (Watch()) await FirstLookAsync();
        while (_told.TryTake(out _)) { }
        Count(nonFatal: 2);
        using var watch = Watch();
        var errors = _told.GetConsumingEnumerable(Eventually.Limit)
            .TakeWhile(report => report is not AerReport.PastErrorsTold).OfType<AerReport.Met>();
        Assert.Single(errors);
    }

    private string Record => $"{_root.Path}/run/xenpciback/aer/{Nic}";

    /// <summary>That of another process.</summary>
    private LinuxAerFeed NewFeed() => new(new FileRecords($"{_root.Path}/run/xenpciback/aer"), _root.Path);

    private IDisposable Watch() => NewFeed().Watch(report => _told.Add(report));

    private void WithTrace()
    {
        _root.With($"{Tracing}/events/ras/aer_event/enable", "0").With($"{Instance}/set_event", "").With($"{Instance}/buffer_percent", "50");
        using (var mkfifo = Process.Start("mkfifo", $"{_root.Path}{Instance}/trace_pipe")) mkfifo.WaitForExit();
        // Open for both, so that it neither waits for a reader nor ends.
        _trace = new FileStream($"{_root.Path}{Instance}/trace_pipe", FileMode.Open, FileAccess.ReadWrite);
    }

    private void Trace(string text)
    {
        _trace!.Write(System.Text.Encoding.ASCII.GetBytes($"     irq/26-aerdrv-58      [000] .....   123.456789: aer_event: {text}\n"));
        _trace.Flush();
    }

    private void Count(int nonFatal)
    {
        var directory = $"/sys/bus/pci/devices/{Nic}";
        _root.With($"{directory}/aer_dev_correctable", "RxErr 0\nTOTAL_ERR_COR 0\n").With($"{directory}/aer_dev_fatal", "DLP 0\nTOTAL_ERR_FATAL 0\n");
        // In one step, as sysfs answers.
        File.WriteAllText($"{_root.Path}/counters", $"CmpltTO {nonFatal}\nTOTAL_ERR_NONFATAL {nonFatal}\n");
        File.Move($"{_root.Path}/counters", $"{_root.DeviceDirectory(Nic)}/aer_dev_nonfatal", overwrite: true);
    }

    // What is counted before it is history.
    private Task FirstLookAsync() => Eventually.IsTrueAsync(() => File.Exists(Record));

    private AerReport Next() =>
        _told.GetConsumingEnumerable(Eventually.Limit).First(report => report is not AerReport.PastErrorsTold);

    private AerError NextError()
    {
        while (true)
            if (Next() is AerReport.Met(var error))
                return error;
    }
}
