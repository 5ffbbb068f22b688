using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback incidents</c>: what an operator should have heard of since the daemon was started.</summary>
internal static class IncidentsCommand
{
    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "A line of JSON for each" };
        var follow = new Option<bool>("--follow") { Description = "And those that happen from now on, until Ctrl-C" };
        var (socket, config) = (ControlOptions.Socket(), ControlOptions.Config());
        var command = new Command("incidents", """
            Show errors of devices, guests that were killed, devices in quarantine, restarts and adoptions since this daemon
            was started, the latest 500, the newest last: what has happened, what the error status says bit by bit, and how a failure went up
            the supervision.
            """) { json, follow, socket, config };
        command.SetAction((parse, stop) =>
        {
            var request = new ControlRequest(Incidents: 0) { Follow = parse.GetValue(follow) ? true : null };
            return RunAsync(ControlOptions.PathIn(parse, socket, config), request, parse.GetValue(json), stop);
        });
        return command;
    }

    private static async Task<int> RunAsync(string path, ControlRequest request, bool json, CancellationToken stop)
    {
        var any = false;
        try
        {
            await foreach (var (_, answer) in ControlClient.AskAsync(path, request, stop))
            {
                if (answer.Error is { } error) return ExitCode.Refuse(error, ExitCode.Failure);
                any = true;
                if (json) Console.WriteLine(JsonSerializer.Serialize(answer.Incident, ControlJson.Options));
                else Show(answer.Incident!);
            }
            if (request.Follow == true) return ExitCode.Refuse("the daemon has ended", ExitCode.Unavailable);
            if (!any && !json) Console.WriteLine("Nothing has happened since the daemon was started.");
            return ExitCode.Success;
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Success;
        }
    }

    private static void Show(Incident incident)
    {
        AnsiConsole.Write(new Text(string.Create(CultureInfo.InvariantCulture, $"{incident.Number,4}  {incident.At.ToLocalTime():yyyy-MM-dd HH:mm:ss}  ")));
        AnsiConsole.Write(new Text($"{incident.Kind,-11}  ", StyleOf(incident.Kind)));
        // Not folded, wherever it goes.
        Console.WriteLine(incident.Summary);
        foreach (var line in incident.Details) Console.WriteLine($"        {line}");
        foreach (var (i, step) in incident.Path.Index()) Console.WriteLine($"        {new string(' ', 2 * i)}-> {step}");
    }

    private static Style StyleOf(IncidentKind kind) => new(kind switch
    {
        IncidentKind.GuestKilled or IncidentKind.Abandoned => Color.Red,
        IncidentKind.Recovered or IncidentKind.Adopted => Color.Green,
        _ => Color.Yellow,
    });
}
