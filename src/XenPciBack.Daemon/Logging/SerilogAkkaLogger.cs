using Akka.Actor;
using Akka.Dispatch;
using Akka.Event;
using Serilog;
using Serilog.Events;
using LogEvent = Akka.Event.LogEvent;

namespace XenPciBack.Daemon.Logging;

/// <summary>
/// Hands Akka's log events to Serilog. Our own lines keep their named properties; Akka's own are rendered first, because their
/// positional placeholders mean something else to Serilog.
/// </summary>
internal sealed class SerilogAkkaLogger : ReceiveActor, IRequiresMessageQueue<ILoggerMessageQueueSemantics>
{
    private const string OwnNamespace = "XenPciBack.";

    public SerilogAkkaLogger()
    {
        Receive<InitializeLogger>(_ => Sender.Tell(new LoggerInitialized()));
        Receive<LogEvent>(Write);
    }

    public static void Write(LogEvent logged)
    {
        var log = Log.ForContext("LogSource", logged.LogSource);
        if (logged.TryGetProperties(out var properties) && properties is not null)
            foreach (var (name, value) in properties)
                log = log.ForContext(name, value);

        var level = LevelOf(logged);
        if (logged.LogClass.FullName?.StartsWith(OwnNamespace, StringComparison.Ordinal) != true)
            // What Akka finds worth telling is rarely about guests.
            log.Write(level == LogEventLevel.Information ? LogEventLevel.Debug : level, logged.Cause, "{Text:l}", logged.Message.ToString());
        else if (logged.Message is LogMessage message)
            log.Write(level, logged.Cause, message.Format, [.. message.Parameters()]);
        else
            log.Write(level, logged.Cause, "{Text:l}", logged.Message.ToString());
    }

    private static LogEventLevel LevelOf(LogEvent logged) => logged.LogLevel() switch
    {
        LogLevel.DebugLevel => LogEventLevel.Debug,
        LogLevel.InfoLevel => LogEventLevel.Information,
        LogLevel.WarningLevel => LogEventLevel.Warning,
        _ => LogEventLevel.Error,
    };
}
