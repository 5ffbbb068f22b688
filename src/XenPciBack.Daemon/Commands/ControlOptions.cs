using System.CommandLine;
using XenPciBack.Daemon.Configuration;

namespace XenPciBack.Daemon.Commands;

/// <summary>How commands that speak to the running daemon find it.</summary>
internal static class ControlOptions
{
    public static Option<string?> Socket() => new("--socket") { Description = "The daemon's control socket (default: as the settings say)", HelpName = "PATH" };

    public static Option<string?> Config() => new("--config") { Description = "The settings the daemon was started with", HelpName = "FILE" };

    public static string PathIn(ParseResult parse, Option<string?> socket, Option<string?> config) =>
        parse.GetValue(socket) ?? SettingsReader.Load(parse.GetValue(config)).ControlSocket;
}
