using System.Globalization;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Display;

namespace XenPciBack.Daemon.Logging;

/// <summary>Keeps the last log lines for a screen that draws itself, where lines in between would tear it.</summary>
internal sealed class RecentLog(bool isShownHere) : ILogEventSink
{
    private const int Kept = 8;

    private readonly MessageTemplateTextFormatter _formatter = new(ConsoleLog.Line, CultureInfo.InvariantCulture);
    private readonly Lock _lock = new();
    private readonly Queue<string> _lines = new();

    /// <summary>The log goes here, and the console belongs to the screen.</summary>
    public bool IsShownHere { get; } = isShownHere;

    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (_lock) return [.. _lines];
        }
    }

    public void Emit(LogEvent logEvent)
    {
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        _formatter.Format(logEvent, text);
        lock (_lock)
        {
            _lines.Enqueue(text.ToString().TrimEnd());
            if (_lines.Count > Kept) _lines.Dequeue();
        }
    }
}
