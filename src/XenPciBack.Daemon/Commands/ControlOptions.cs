using System.CommandLine;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary>How commands that speak to the running daemon find it.</summary>
internal static class ControlOptions
{
    public static Option<string?> Socket() => new("--socket") { Description = "The daemon's control socket (default: as the settings say)", HelpName = "PATH" };

    public static Option<string?> Config() => new("--config") { Description = "The settings the daemon was started with", HelpName = "FILE" };

    public static string PathIn(ParseResult parse, Option<string?> socket, Option<string?> config) =>
        parse.GetValue(socket) ?? SettingsReader.Load(parse.GetValue(config)).ControlSocket;

    /// <summary>Asks for something that has one answer.</summary>
    /// <param name="show">Gets the answer, if it is no error.</param>
    /// <param name="who">Who is asked, for the message when it ends meanwhile.</param>
    /// <returns>The command's exit code.</returns>
    public static async Task<int> AskOnceAsync(string path, ControlRequest request, Action<ControlAnswer> show, CancellationToken stop, string who = "daemon")
    {
        await foreach (var (_, answer) in ControlClient.AskAsync(path, request, stop))
        {
            if (answer.Error is { } error) return ExitCode.Refuse(error, ExitCode.Failure);
            show(answer);
            return ExitCode.Success;
        }
        return ExitCode.Refuse($"the {who} has ended without an answer", ExitCode.Unavailable);
    }
}
