using System.CommandLine;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback trace</c>: every operation of the guests as it happens, until Ctrl-C.</summary>
internal static class TraceCommand
{
    public static Command Create()
    {
        var subject = new Argument<string>("GUEST|BDF") { Description = "A guest's domain id or name, or a device as ssss:bb:dd.f; every guest if left out", DefaultValueFactory = _ => "" };
        var socket = ControlOptions.Socket();
        var record = new Option<string?>("--record") { Description = "Write the operations to a file too, for xenpciback replay; begin before the guest starts", HelpName = "FILE" };
        var config = ControlOptions.Config();
        var command = new Command("trace", """
            Show what guests ask of their devices, live: each operation with the register's name, its result and time, and for
            each field that is not simply the device's what was allowed, filtered or dropped, and the rule that says so.
            Nothing is traced while nobody looks.
            """) { subject, record, socket, config };
        command.SetAction((parse, stop) => RunAsync(parse.GetValue(subject)!, ControlOptions.PathIn(parse, socket, config), parse.GetValue(record), stop));
        return command;
    }

    private static async Task<int> RunAsync(string subject, string path, string? record, CancellationToken stop)
    {
        using var recording = record is null ? null : new StreamWriter(record);
        try
        {
            await foreach (var (line, answer) in ControlClient.AskAsync(path, new ControlRequest(Trace: subject), stop))
            {
                if (answer.Error is { } error) return ExitCode.Refuse(error, ExitCode.Failure);
                if (answer.IsTracing is true) Console.Error.WriteLine("Tracing; Ctrl-C ends it.");
                else recording?.WriteLine(line);
                if (answer.Operation is { } operation) Console.WriteLine(operation.ToText());
            }
            return ExitCode.Refuse("the daemon has ended", ExitCode.Unavailable);
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Success;
        }
    }
}
