using System.CommandLine;
using XenPciBack.Daemon.Control;
using XenPciBack.Simulation.Faults;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback fault</c>: something breaks on the embedded host of a running demo.</summary>
internal static class FaultCommand
{
    /// <summary>The names and what they do, a line each.</summary>
    public static string Catalogue => string.Join('\n', FaultCatalogue.All.Select(fault => $"  {fault.Name,-18} {fault.Description}"));

    public static Command Create()
    {
        var name = new Argument<string>("NAME") { Description = "The fault" };
        name.AcceptOnlyFromAmong([.. FaultCatalogue.All.Select(fault => fault.Name)]);
        var socket = new Option<string>("--socket") { Description = "The demo's control socket, which it prints at its start", HelpName = "PATH", Required = true };
        var command = new Command("fault", $"Let something break on the embedded host of a running demo:\n{Catalogue}") { name, socket };
        command.SetAction((parse, stop) => ControlOptions.AskOnceAsync(parse.GetValue(socket)!, new ControlRequest(Fault: parse.GetValue(name)),
            answer => Console.WriteLine(answer.Injected), stop, who: "demo"));
        return command;
    }
}
