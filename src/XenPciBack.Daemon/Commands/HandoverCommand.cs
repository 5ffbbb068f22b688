using System.CommandLine;
using System.Diagnostics;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback handover</c>: the daemon that stands by serves the guests, and the one that has served them ends.</summary>
internal static class HandoverCommand
{
    // A daemon lets go within a second, or is ended.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), Look = TimeSpan.FromMilliseconds(10);

    public static Command Create()
    {
        var socket = ControlOptions.Socket();
        var config = ControlOptions.Config();
        var command = new Command("handover", """
            Let the daemon that stands by take the guests over, for an upgrade: start the new version with xenpciback run,
            wait until it stands by, hand over. The guests notice nothing. Refused while nobody stands by.
            """) { socket, config };
        command.SetAction((parse, stop) => HandOverAsync(ControlOptions.PathIn(parse, socket, config), stop));
        return command;
    }

    private static async Task<int> HandOverAsync(string path, CancellationToken stop)
    {
        int? next = null;
        var exitCode = await ControlOptions.AskOnceAsync(path, new ControlRequest(HandOver: true), answer => next = answer.HandsOverTo, stop);
        if (next is null) return exitCode;
        // Whose turn it is, the kernel's lock says.
        var turn = new Turn(Path.GetDirectoryName(path)!);
        var began = Stopwatch.GetTimestamp();
        while (turn.Serving != next)
        {
            if (Stopwatch.GetElapsedTime(began) > Patience) return ExitCode.Refuse($"process {next} has not taken over within {Patience.TotalSeconds} s; process {turn.Serving} served last", ExitCode.Failure);
            await Task.Delay(Look, stop);
        }
        Console.WriteLine($"Handed over to process {next}.");
        return ExitCode.Success;
    }
}
