using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Spectre.Console.Rendering;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Control;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback status</c>: the guests, their devices and how fast they are served.</summary>
internal static class StatusCommand
{
    // Wider than the table: what is read by a program is not folded.
    private const int WidthOfFile = 200;

    public static Command Create()
    {
        var subject = new Argument<string>("GUEST|BDF") { Description = "A guest's domain id or name, or a device as ssss:bb:dd.f; all of them if left out", DefaultValueFactory = _ => "" };
        var json = new Option<bool>("--json") { Description = "A line of JSON instead of a table" };
        var watch = new Option<bool>("--watch") { Description = "Again each second, until Ctrl-C" };
        var (socket, config) = (ControlOptions.Socket(), ControlOptions.Config());
        var command = new Command("status", "Show the guests, their devices, what they interrupt with, and how many operations were answered how fast") { subject, json, watch, socket, config };
        command.SetAction((parse, stop) =>
        {
            var request = new ControlRequest(Status: parse.GetValue(subject)) { Follow = parse.GetValue(watch) ? true : null };
            return RunAsync(ControlOptions.PathIn(parse, socket, config), request, parse.GetValue(json), stop);
        });
        return command;
    }

    private static async Task<int> RunAsync(string path, ControlRequest request, bool json, CancellationToken stop)
    {
        var isLive = request.Follow == true && !json && AnsiConsole.Profile.Out.IsTerminal;
        try
        {
            await foreach (var (_, answer) in ControlClient.AskAsync(path, request, stop))
            {
                if (answer.Error is { } error) return ExitCode.Refuse(error, ExitCode.Failure);
                if (isLive) AnsiConsole.Clear();
                Show(answer.Status!, json);
                if (request.Follow != true) return ExitCode.Success;
            }
            return ExitCode.Refuse("the daemon has ended", ExitCode.Unavailable);
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Success;
        }
    }

    private static void Show(HostStatus host, bool json)
    {
        if (json)
        {
            using var output = Console.OpenStandardOutput();
            output.Write(ControlJson.Line(host));
            return;
        }
        if (!AnsiConsole.Profile.Out.IsTerminal) AnsiConsole.Profile.Width = WidthOfFile;
        AnsiConsole.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{host.Host}: xenpciback {host.Version} on Xen {host.Xen}, serving since {host.Since.ToLocalTime():yyyy-MM-dd HH:mm:ss}"));
        if (host.Guests.IsEmpty) AnsiConsole.WriteLine("No guest has a device.");
        else AnsiConsole.Write(TableOf(host));
        foreach (var device in host.Quarantine)
            AnsiConsole.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{device.Device} is in quarantine since {device.Since.ToLocalTime():yyyy-MM-dd HH:mm:ss}, when guest {device.Guest} had it: {device.Reason}"));
    }

    private static Table TableOf(HostStatus host)
    {
        var table = new Table().RoundedBorder().AddColumns("domid", "guest", "state", "device", "in the guest", "vendor:device", "interrupts");
        foreach (var number in (string[])["operations", "failed", "per second", "median", "p99"]) table.AddColumn(new TableColumn(number).RightAligned());
        foreach (var guest in host.Guests)
        {
            var ofGuest = RowOf(guest);
            var none = Enumerable.Repeat("", ofGuest.Length).ToArray();
            if (guest.Devices.IsEmpty) table.AddRow(Row(guest, ["", "", "", ""], ofGuest));
            foreach (var (i, device) in guest.Devices.Index()) table.AddRow(Row(i == 0 ? guest : null, RowOf(device), i == 0 ? ofGuest : none));
        }
        return table;
    }

    private static IEnumerable<IRenderable> Row(GuestStatus? guest, string[] device, string[] operations)
    {
        var style = guest?.State == XenbusState.Connected ? new Style(Color.Green) : new Style(Color.Yellow);
        yield return new Text(guest?.Domain.ToString() ?? "");
        yield return new Text(guest?.Name ?? "");
        yield return new Text(guest?.State.ToString() ?? "", style);
        foreach (var cell in device.Concat(operations)) yield return new Text(cell);
    }

    private static string[] RowOf(DeviceStatus device) =>
    [
        device.Device.ToString(), device.Virtual.ToString(), string.Create(CultureInfo.InvariantCulture, $"{device.VendorId:x4}:{device.DeviceId:x4}"),
        string.Create(CultureInfo.InvariantCulture,
            $"{device.Interrupts}{(device.Vectors > 0 ? $", {device.Vectors}" : "")}")
            + (device.IsRecovering ? ", recovering" : "")
            + (device.UnansweredSeconds is { } seconds ? $", no answer for {Math.Round(seconds)} s" : ""),
    ];

    // A guest looks for devices at each address, so that one it does not have is no failure.
    private static string[] RowOf(GuestStatus guest) =>
    [
        Count(guest.Operations.Sum(count => count.Count)), Count(guest.Operations.Where(count => count.Result is not ("ok" or "dev_not_found")).Sum(count => count.Count)),
        guest.Rate.ToString("0.0", CultureInfo.InvariantCulture), Microseconds(guest.Latency?.Median), Microseconds(guest.Latency?.P99),
    ];

    private static string Count(long count) => count.ToString("N0", CultureInfo.InvariantCulture);

    private static string Microseconds(double? time) => time switch
    {
        null => "",
        < 1_000 => string.Create(CultureInfo.InvariantCulture, $"{time:0.0} us"),
        < 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{time / 1_000:0.0} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{time / 1_000_000:0.0} s"),
    };
}
