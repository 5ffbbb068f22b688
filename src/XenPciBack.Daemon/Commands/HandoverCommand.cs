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
        command.SetAction((parse, stop) => ControlOptions.AskOnceAsync(ControlOptions.PathIn(parse, socket, config), new ControlRequest(HandOver: true),
            answer => Console.WriteLine($"Handed over to process {answer.HandedOverTo}."), stop));
        return command;
    }
}
