using System.CommandLine;
using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback fleet status</c>: what this machine's monitor, or daemon, knows of the hosts.</summary>
internal static class FleetCommand
{
    public static Command Create() => new("fleet", "The hosts that report to this machine's monitor") { CreateStatus() };

    private static Command CreateStatus()
    {
        var socket = new Option<string?>("--socket") { Description = "The socket of the monitor's web view (default: as the settings say)", HelpName = "PATH" };
        var config = ControlOptions.Config();
        var json = new Option<bool>("--json") { Description = "As the dashboard gets it: every guest, device and incident" };
        var command = new Command("status", "Show every host: whether it is heard of and since when, its guests, and its latest incident") { socket, config, json };
        command.SetAction((parse, stop) => ShowAsync(parse.GetValue(socket) ?? SettingsReader.Load(parse.GetValue(config)).Web.Socket, parse.GetValue(json), stop));
        return command;
    }

    private static async Task<int> ShowAsync(string path, bool json, CancellationToken stop)
    {
        var text = await GetAsync(path, "/api/fleet", stop);
        if (json)
        {
            Console.WriteLine(text);
            return ExitCode.Success;
        }
        using var fleet = JsonDocument.Parse(text);
        var incidents = fleet.RootElement.GetProperty("incidents").EnumerateArray().ToLookup(incident => incident.GetProperty("host").GetString());
        foreach (var host in fleet.RootElement.GetProperty("hosts").EnumerateArray())
        {
            var name = host.GetProperty("host").GetString();
            var guests = host.GetProperty("status") is { ValueKind: JsonValueKind.Object } status ? status.GetProperty("guests").GetArrayLength() : 0;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{name,-16} {host.GetProperty("presence").GetString(),-5} since {host.GetProperty("presentSince").GetDateTimeOffset():u}  {guests} guests  {incidents[name].Count()} incidents"));
            if (incidents[name].FirstOrDefault() is { ValueKind: JsonValueKind.Object } latest)
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"",-16} {latest.GetProperty("at").GetDateTimeOffset():u} {latest.GetProperty("summary").GetString()}"));
        }
        if (fleet.RootElement.GetProperty("hosts").GetArrayLength() == 0) Console.WriteLine("No host has reported yet.");
        return ExitCode.Success;
    }

    /// <param name="path">The socket of a node's web view.</param>
    /// <exception cref="DaemonUnreachableException">Nobody answers there.</exception>
    internal static async Task<string> GetAsync(string path, string resource, CancellationToken stop)
    {
        using var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            ConnectCallback = async (_, cancelled) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancelled);
                    return new NetworkStream(socket, ownsSocket: true);
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            },
        };
        using var client = new HttpClient(handler);
        try
        {
            return await client.GetStringAsync(new Uri($"http://localhost{resource}"), stop);
        }
        catch (HttpRequestException e)
        {
            throw new DaemonUnreachableException($"no monitor or daemon answers at {path}: {e.InnerException?.Message ?? e.Message}");
        }
    }
}
