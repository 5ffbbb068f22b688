namespace XenPciBack.Lab;

/// <summary>Something the lab could not do; the message names the command, the outcome and the tail of its output.</summary>
public sealed class LabException(string message, Exception? cause = null) : Exception(message, cause)
{
    /// <summary>The last lines of a log, as many as help in an error message.</summary>
    internal static string Tail(string text, int lines = 25)
    {
        var all = text.TrimEnd().Split('\n');
        return string.Join('\n', all.TakeLast(lines));
    }
}
