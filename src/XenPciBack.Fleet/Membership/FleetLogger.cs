using System.Text.RegularExpressions;
using Akka.Actor;
using Akka.Dispatch;
using Akka.Event;
using Akka.Remote;

namespace XenPciBack.Fleet.Membership;

/// <summary>
/// Hands the fleet's log events on, but those about one peer only once in a while: what others send does not fill the log. Of what Akka itself has to
/// say of a peer, a line for each step in which a connection comes down, it is the first one.
/// </summary>
internal sealed partial class FleetLogger : ReceiveActor, IRequiresMessageQueue<ILoggerMessageQueueSemantics>
{
    private const int MostRemembered = 256, LongestLine = 500;
    private static readonly TimeSpan While = TimeSpan.FromMinutes(10);

    private readonly Dictionary<(string Kind, string Peer), DateTime> _told = [];

    public FleetLogger()
    {
        var log = Context.System.Settings.Setup.Get<FleetSetup>().Value.Log;
        Receive<InitializeLogger>(_ => Sender.Tell(new LoggerInitialized()));
        Receive<LogEvent>(logged =>
        {
            if (logged.LogLevel() < LogLevel.WarningLevel)
                log(logged);
            else if (logged.LogClass.Assembly == typeof(FleetLogger).Assembly)
            {
                if (IsNew(logged, $"{logged.LogClass} {(logged.Message as LogMessage)?.Format}")) log(logged);
            }
            // Each heartbeat that is late is told of there; the cluster says which node is lost.
            else if (logged.LogClass != typeof(PhiAccrualFailureDetector) && IsNew(logged, "Akka"))
                log(new Warning(null, logged.LogSource, logged.LogClass, OneLine(logged)));
        });
    }

    private bool IsNew(LogEvent logged, string kind)
    {
        var key = (kind, Peer().Matches(Uri.UnescapeDataString($"{logged.Message} {logged.LogSource}")).LastOrDefault()?.Value ?? "");
        if (_told.TryGetValue(key, out var at) && logged.Timestamp - at < While) return false;
        if (_told.Count == MostRemembered) _told.Clear();
        _told[key] = logged.Timestamp;
        return true;
    }

    private static string OneLine(LogEvent logged)
    {
        var line = logged.Message.ToString()!.Split('\n')[0];
        if (logged.Cause?.GetBaseException().Message.Split('\n')[0] is { } cause && !line.Contains(cause, StringComparison.Ordinal)) line = $"{line}: {cause}";
        return line.Length > LongestLine ? line[..LongestLine] : line;
    }

    /// <summary>An address without its port, which is another one with each connection.</summary>
    [GeneratedRegex(@"\d+\.\d+\.\d+\.\d+|\[[0-9a-f]*:[0-9a-f:]+\]")]
    private static partial Regex Peer();
}
