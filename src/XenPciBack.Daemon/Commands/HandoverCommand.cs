using System.CommandLine;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback handover</c>: the daemon that stands by serves the guests, and the one that has served them ends.</summary>
internal static class HandoverCommand
{
    public static Command Create()
    {
        var socket = ControlOptions.Socket();
        var config = ControlOptions.Config();
        var command = new Command("handover", """
            Let the daemon that stands by take the guests over, for an upgrade: start the new version with xenpciback run,
            wait until it stands by, hand over. The guests notice nothing. Refused while nobody stands by.
            """) { socket, config };
        command.SetAction((parse, stop) => RunAsync(ControlOptions.PathIn(parse, socket, config), stop));
        return command;
    }

    private static async Task<int> RunAsync(string path, CancellationToken stop)
    {
        await foreach (var (_, answer) in ControlClient.AskAsync(path, new ControlRequest(HandOver: true), stop))
        {
            if (answer.Error is { } error) return ExitCode.Refuse(error, ExitCode.Failure);
            Console.WriteLine($"Handed over to process {answer.HandedOverTo}.");
            return ExitCode.Success;
        }
        return ExitCode.Refuse("the daemon has ended without an answer", ExitCode.Unavailable);
    }
}
