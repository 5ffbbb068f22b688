using Serilog.Events;
using XenPciBack.Actors;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Tests;

public class SettingsReaderTests
{
    private static DaemonSettings Read(string text) => SettingsReader.Read(text, "my.conf");

    private static IReadOnlyList<string> FaultsOf(string text) => Assert.Throws<SettingsException>(() => Read(text)).Faults;

    [Fact]
    public void The_built_in_file_gives_every_default()
    {
        var settings = Read("");
        Assert.Equal(new BackendSettings(DomainId.Zero, RequestsPerTurn: 16, GuestPatience: TimeSpan.FromSeconds(2), HotPlugPatience: TimeSpan.FromSeconds(8), StoreRetry: TimeSpan.FromSeconds(1)), settings.Backend);
        Assert.Null(settings.XenStoreSocket);
        Assert.Equal(LogEventLevel.Information, settings.LogLevel);
        Assert.Equal(
            (TimeSpan.FromSeconds(10), TimeSpan.FromMilliseconds(20), TimeSpan.FromSeconds(2), 100),
            (settings.XenStore.ReconnectPatience, settings.XenStore.FirstReconnectPause, settings.XenStore.LongestReconnectPause, settings.XenStore.TransactionTries));
    }

    [Fact]
    public void An_operators_file_overrides_key_by_key()
    {
        var settings = Read("xenpciback { backend-domain = 3, xenstore.socket = /run/x, log.level = debug }\nakka.scheduler.tick-duration = 50ms");
        Assert.Equal((3, 16), (settings.Backend.Domain.Value, settings.Backend.RequestsPerTurn));
        Assert.Equal("/run/x", settings.XenStoreSocket);
        Assert.Equal(LogEventLevel.Debug, settings.LogLevel);
        Assert.Equal(TimeSpan.FromMilliseconds(50), settings.Akka.GetTimeSpan("akka.scheduler.tick-duration"));
    }

    [Theory]
    [InlineData("backend-domain = 32752", "my.conf: xenpciback.backend-domain is '32752'; expected a whole number from 0 to 32751")]
    [InlineData("backend-domain = -1", "my.conf: xenpciback.backend-domain is '-1'; expected a whole number from 0 to 32751")]
    [InlineData("data-plane.requests-per-turn = 0", "my.conf: xenpciback.data-plane.requests-per-turn is '0'; expected a whole number from 1 to 1024")]
    [InlineData("data-plane.guest-patience = soon", "my.conf: xenpciback.data-plane.guest-patience is 'soon'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("data-plane.guest-patience = infinite", "my.conf: xenpciback.data-plane.guest-patience is 'infinite'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("hot-plug.patience = 0s", "my.conf: xenpciback.hot-plug.patience is '0s'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("xenstore.retry-pause = 1ms", "my.conf: xenpciback.xenstore.retry-pause is '1ms'; expected a duration with its unit, from 10 ms to 10 min")]
    [InlineData("xenstore.reconnect-patience = 2h", "my.conf: xenpciback.xenstore.reconnect-patience is '2h'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("xenstore.first-reconnect-pause = 0s", "my.conf: xenpciback.xenstore.first-reconnect-pause is '0s'; expected a duration with its unit, from 1 ms to 1 min")]
    [InlineData("xenstore.longest-reconnect-pause = 2 min", "my.conf: xenpciback.xenstore.longest-reconnect-pause is '2 min'; expected a duration with its unit, from 1 ms to 1 min")]
    [InlineData("xenstore.transaction-tries = many", "my.conf: xenpciback.xenstore.transaction-tries is 'many'; expected a whole number from 1 to 10000")]
    [InlineData("log.level = fatal", "my.conf: xenpciback.log.level is 'fatal'; expected one of verbose, debug, information, warning, error")]
    [InlineData("log.levle = debug", "my.conf: xenpciback.log.levle is not a setting; known here: level")]
    [InlineData("log.level { }", "my.conf: xenpciback.log.level is a group; expected a value")]
    [InlineData("xenstore = 5", "my.conf: xenpciback.xenstore is '5'; expected a group with: socket, reconnect-patience, first-reconnect-pause, longest-reconnect-pause, transaction-tries, retry-pause")]
    public void A_wrong_setting_is_named_with_its_value_and_what_was_expected(string setting, string fault) =>
        Assert.Contains(fault, FaultsOf($"xenpciback {{ {setting} }}"));

    [Fact]
    public void All_faults_are_shown_at_once() => Assert.Equal(2, FaultsOf("xenpciback { backend-domain = x\n no-such = 1 }").Count);

    [Fact]
    public void A_file_that_is_not_hocon_is_refused_by_name() => Assert.StartsWith("my.conf: is not HOCON: ", Assert.Single(FaultsOf("xenpciback.log.level = ${nope}")), StringComparison.Ordinal);

    [Fact]
    public void A_file_that_is_not_there_is_refused_by_name() =>
        Assert.StartsWith("/no/such/file: cannot be read: ", Assert.Throws<SettingsException>(() => SettingsReader.Load("/no/such/file")).Message, StringComparison.Ordinal);
}
