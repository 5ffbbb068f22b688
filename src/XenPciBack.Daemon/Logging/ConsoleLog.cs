using System.Globalization;
using Microsoft.Extensions.Hosting.Systemd;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using XenPciBack.Backend;

namespace XenPciBack.Daemon.Logging;

/// <summary>Log lines on the console: time, level, id (<see cref="LogEvents"/>), guest, device, text.</summary>
internal static class ConsoleLog
{
    public const string Line = "{Timestamp:HH:mm:ss.fff} {Level:u3} {Prefix}{Message:lj}{NewLine}{Exception}";

    // The journal has the time itself, and takes the level from the number in front (sd-daemon(3)).
    private const string JournalLine = "<{Priority}>{Prefix}{Message:lj}{NewLine}{Exception}";

    public static Logger Create(LogEventLevel level) =>
        Start(level).WriteTo.Console(outputTemplate: SystemdHelpers.IsSystemdService() ? JournalLine : Line, formatProvider: CultureInfo.InvariantCulture).CreateLogger();

    /// <summary>The same lines, kept for a screen instead of printed.</summary>
    public static Logger CreateFor(RecentLog screen, LogEventLevel level) => Start(level).WriteTo.Sink(screen).CreateLogger();

    private static LoggerConfiguration Start(LogEventLevel level) =>
        new LoggerConfiguration().MinimumLevel.Is(level).Enrich.With<Prefix>().Enrich.With<Priority>();

    /// <summary>The level as syslog has it: 7 debug, 6 informational, 4 warning, 3 error, 2 critical.</summary>
    private sealed class Priority : ILogEventEnricher
    {
        public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory) => logEvent.AddPropertyIfAbsent(new LogEventProperty("Priority", new ScalarValue(logEvent.Level switch
        {
            LogEventLevel.Verbose or LogEventLevel.Debug => 7,
            LogEventLevel.Information => 6,
            LogEventLevel.Warning => 4,
            LogEventLevel.Error => 3,
            _ => 2,
        })));
    }

    /// <summary>What stands in front of a line's text, such as <c>[device-given] Guest 3 0000:03:00.0: </c>.</summary>
    private sealed class Prefix : ILogEventEnricher
    {
        public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory)
        {
            var id = logEvent.Properties.GetValueOrDefault(LogEvents.EventProperty);
            var guest = logEvent.Properties.GetValueOrDefault(LogEvents.GuestProperty);
            var device = logEvent.Properties.GetValueOrDefault(LogEvents.DeviceProperty);
            var about = (guest, device) switch
            {
                (null, null) => "",
                (_, null) => $"Guest {guest}: ",
                (null, _) => $"{device:l}: ",
                _ => $"Guest {guest} {device:l}: ",
            };
            var prefix = id is null ? about : $"[{id:l}] {about}";
            logEvent.AddPropertyIfAbsent(new LogEventProperty("Prefix", new ScalarValue(prefix)));
        }
    }
}
