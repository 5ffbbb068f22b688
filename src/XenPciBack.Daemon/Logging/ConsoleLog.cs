using System.Globalization;
using Microsoft.Extensions.Hosting.Systemd;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace XenPciBack.Daemon.Logging;

/// <summary>Log lines on the console: time, level, whom it is about (guest, device), text.</summary>
internal static class ConsoleLog
{
    public const string Line = "{Timestamp:HH:mm:ss.fff} {Level:u3} {About}{Message:lj}{NewLine}{Exception}";

    // The journal has the time itself, and takes the level from the number in front (sd-daemon(3)).
    private const string JournalLine = "<{Priority}>{About}{Message:lj}{NewLine}{Exception}";

    public static Logger Create(LogEventLevel level) =>
        Start(level).WriteTo.Console(outputTemplate: SystemdHelpers.IsSystemdService() ? JournalLine : Line, formatProvider: CultureInfo.InvariantCulture).CreateLogger();

    /// <summary>The same lines, kept for a screen instead of printed.</summary>
    public static Logger CreateFor(RecentLog screen, LogEventLevel level) => Start(level).WriteTo.Sink(screen).CreateLogger();

    private static LoggerConfiguration Start(LogEventLevel level) => new LoggerConfiguration().MinimumLevel.Is(level).Enrich.With<About>().Enrich.With<Priority>();

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

    /// <summary>Puts domid and BDF, where a line has them, in front of its text.</summary>
    private sealed class About : ILogEventEnricher
    {
        public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory)
        {
            var guest = logEvent.Properties.GetValueOrDefault("Guest");
            var device = logEvent.Properties.GetValueOrDefault("Device");
            var about = (guest, device) switch
            {
                (null, null) => "",
                (_, null) => $"guest {guest}: ",
                (null, _) => $"{device:l}: ",
                _ => $"guest {guest} {device:l}: ",
            };
            logEvent.AddPropertyIfAbsent(new LogEventProperty("About", new ScalarValue(about)));
        }
    }
}
