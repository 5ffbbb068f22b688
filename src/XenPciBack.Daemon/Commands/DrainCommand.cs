using System.CommandLine;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback drain</c>: the guests give their devices back, and the daemon ends for good.</summary>
internal static class DrainCommand
{
    public static Command Create()
    {
        var socket = ControlOptions.Socket();
        var config = ControlOptions.Config();
        var command = new Command("drain", """
            Take every device away from its guest (xl pci-detach) and end, with the kernel's own backends as they were before. On any
            other end of the daemon the guests keep their devices and wait for the next one. Refused while another daemon stands by.
            """) { socket, config };
        command.SetAction((parse, stop) => ControlOptions.AskOnceAsync(ControlOptions.PathIn(parse, socket, config), new ControlRequest(Drain: true), answer =>
        {
            foreach (var device in answer.Drained!) Console.WriteLine(device);
            Console.WriteLine("No guest has a device of this host any more; the daemon has ended.");
        }, stop));
        return command;
    }
}
