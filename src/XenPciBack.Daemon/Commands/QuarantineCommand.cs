using System.CommandLine;
using System.Globalization;
using XenPciBack.Daemon.Control;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback quarantine</c>: the devices no guest gets, because one was lost with them.</summary>
internal static class QuarantineCommand
{
    public static Command Create() => new("quarantine", "The devices that no guest gets until somebody has looked at them") { CreateList(), CreateClear() };

    private static Command CreateList()
    {
        var (socket, config) = (ControlOptions.Socket(), ControlOptions.Config());
        var command = new Command("list", "Show them: which, since when, which guest had it, and what happened") { socket, config };
        command.SetAction((parse, stop) => AskAsync(ControlOptions.PathIn(parse, socket, config), new ControlRequest(ListQuarantine: true), stop));
        return command;
    }

    private static Command CreateClear()
    {
        var device = new Argument<string>("BDF") { Description = "The device, as ssss:bb:dd.f" };
        var (socket, config) = (ControlOptions.Socket(), ControlOptions.Config());
        var command = new Command("clear", "Let guests have a device again, and show what is left in quarantine") { device, socket, config };
        command.SetAction((parse, stop) => HostBdf.TryParse(parse.GetValue(device), out var bdf)
            ? AskAsync(ControlOptions.PathIn(parse, socket, config), new ControlRequest(ClearQuarantine: bdf), stop)
            : Task.FromResult(ExitCode.Refuse($"'{parse.GetValue(device)}' is no PCI address; expected ssss:bb:dd.f in hexadecimal", ExitCode.Failure)));
        return command;
    }

    private static Task<int> AskAsync(string path, ControlRequest request, CancellationToken stop) => ControlOptions.AskOnceAsync(path, request, answer =>
    {
        foreach (var device in answer.Quarantined ?? [])
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{device.Device}  {device.Since:u}  guest {device.Guest}  {device.Reason}"));
        if (answer.Quarantined is { Count: 0 }) Console.WriteLine("No device is in quarantine.");
    }, stop);
}
