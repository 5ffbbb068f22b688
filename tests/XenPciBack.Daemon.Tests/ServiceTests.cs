using System.Collections.Concurrent;
using Microsoft.Extensions.Hosting.Systemd;

namespace XenPciBack.Daemon.Tests;

/// <summary>What systemd hears of the daemon.</summary>
public sealed class ServiceTests
{
    private readonly Systemd _systemd = new();

    [Fact]
    public void Ready_comes_with_words_for_systemctl_status()
    {
        new Service(_systemd, watchdog: null).Ready("Serving the guests of this host");
        Assert.Equal(["STATUS=Serving the guests of this host", "READY=1"], _systemd.Told);
    }

    [Fact]
    public async Task The_watchdog_is_fed_again_and_again_while_guests_are_served()
    {
        using var stop = new CancellationTokenSource();
        var watched = new Service(_systemd, TimeSpan.FromMilliseconds(90)).WatchAsync(() => Task.CompletedTask, stop.Token);
        await _systemd.UntilAsync(told => told.Count(text => text == "WATCHDOG=1") >= 3);
        await stop.CancelAsync();
        await watched.WaitAsync(Eventually.Patience);
    }

    [Fact]
    public async Task The_watchdog_goes_without_while_what_serves_guests_is_stuck_and_is_fed_again_when_it_moves()
    {
        using var stop = new CancellationTokenSource();
        var (stuck, limit) = (new TaskCompletionSource(), TimeSpan.FromMilliseconds(30));
        var asked = new ConcurrentQueue<bool>();
        var watched = new Service(_systemd, limit).WatchAsync(() =>
        {
            asked.Enqueue(true);
            return stuck.Task;
        }, stop.Token);
        // One that moves is fed many times meanwhile; one that were fed by the clock would have been.
        var other = new Systemd();
        var moving = new Service(other, limit).WatchAsync(() => Task.CompletedTask, stop.Token);
        await other.UntilAsync(told => told.Count >= 30);
        Assert.Empty(_systemd.Told);
        Assert.Single(asked);
        stuck.SetResult();
        await _systemd.UntilAsync(told => told.Contains("WATCHDOG=1"));
        await stop.CancelAsync();
        await Task.WhenAll(watched, moving).WaitAsync(Eventually.Patience);
    }

    [Theory]
    [InlineData("10000000", null, 10.0)]
    [InlineData("500000", "this", 0.5)]
    [InlineData("10000000", "1", null)]
    [InlineData(null, null, null)]
    [InlineData("0", null, null)]
    [InlineData("soon", null, null)]
    public void Systemd_says_in_the_environment_whether_it_watches_this_process(string? microseconds, string? process, double? seconds) =>
        Assert.Equal(seconds, Service.WatchdogIn(microseconds, process == "this" ? $"{Environment.ProcessId}" : process)?.TotalSeconds);

    private sealed class Systemd : ISystemdNotifier
    {
        private readonly ConcurrentQueue<string> _told = new();

        public bool IsEnabled => true;

        public IReadOnlyList<string> Told => [.. _told];

        public void Notify(ServiceState state) => _told.Enqueue(state.ToString());

        public Task UntilAsync(Func<IReadOnlyList<string>, bool> condition) =>
            Eventually.IsTrueAsync(() => condition(Told));
    }
}
