using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Serilog;
using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Daemon.Composition;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;
using XenPciBack.Daemon.Logging;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Replay;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary>
/// <c>xenpciback replay</c>: a recording of <c>xenpciback trace --record</c> once more, through the whole backend on the embedded Xen
/// host, with devices that answer as the recorded ones did.
/// </summary>
internal static class ReplayCommand
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private sealed record Recording(IReadOnlyDictionary<(int Guest, HostBdf Bdf), DeviceDescription> Devices, IReadOnlyList<TraceLine> Operations);

    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "What xenpciback trace --record has written" };
        var command = new Command("replay", """
            Send a recorded guest's operations again, to this version of the backend on an embedded Xen host, and show the first
            one whose answer, or whose effect on the device, is not as recorded. Needs no Xen.
            Exit code 0: no difference. 1: a difference, shown.
            """) { file };
        command.SetAction((parse, stop) => RunAsync(parse.GetValue(file)!, stop));
        return command;
    }

    private static async Task<int> RunAsync(string file, CancellationToken stop)
    {
        Log.Logger = ConsoleLog.Create(LogEventLevel.Error);
        var (recording, fault) = Read(file);
        if (recording is null) return ExitCode.Refuse(fault!, ExitCode.Failure);
        foreach (var ((guest, bdf), device) in recording.Devices)
            if (!device.IsFresh) Console.WriteLine($"{bdf}: guest {guest} had used it before the recording began; what it had set then is not known here");

        var replayed = 0;
        foreach (var operations in recording.Operations.GroupBy(operation => operation.Guest))
        {
            if (await ReplayAsync(operations.Key, [.. operations], recording, stop) is { } difference)
            {
                Console.WriteLine(difference);
                return ExitCode.Failure;
            }
            replayed += operations.Count();
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{replayed} operations replayed: no difference."));
        return ExitCode.Success;
    }

    /// <returns>The recording, or null and what is wrong with the file.</returns>
    private static (Recording?, string?) Read(string file)
    {
        var devices = new Dictionary<(int, HostBdf), DeviceDescription>();
        var operations = new List<TraceLine>();
        try
        {
            foreach (var (index, line) in File.ReadLines(file).Index())
            {
                try
                {
                    var answer = JsonSerializer.Deserialize<ControlAnswer>(line, ControlJson.Options);
                    if (answer?.Device is { } device) devices.TryAdd((device.Guest, device.Description.Facts.Bdf), device.Description);
                    if (answer?.Operation is { } operation) operations.Add(operation);
                    if (operations is [.., { Missed: > 0 } gap]) return (null, $"{file}:{index + 1}: {gap.Missed} operations are missing here; what follows cannot be replayed");
                }
                catch (JsonException e)
                {
                    return (null, $"{file}:{index + 1}: is no line of a recording: {e.Message}");
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (null, $"{file}: cannot be read: {e.Message}");
        }
        return (new Recording(devices, operations), null);
    }

    private static async Task<string?> ReplayAsync(int recordedGuest, IReadOnlyList<TraceLine> operations, Recording recording, CancellationToken stop)
    {
        var devices = recording.Devices.Where(device => device.Key.Guest == recordedGuest).ToDictionary(device => device.Key.Bdf, device => new RecordedDevice(device.Value));
        var directory = Directory.CreateTempSubdirectory("xenpciback-");
        try
        {
            var socket = Path.Combine(directory.FullName, "xenstored");
            var settings = SettingsReader.Read("", "built-in hocon.conf");
            settings = settings with
            {
                ControlSocket = socket + ".control",
                // Every device where it was on the host, whatever topology the guest had.
                Backend = settings.Backend with { Topologies = new Topologies(Topology.Passthrough), Devices = new DevicePolicies() },
            };
            await using var xen = await SimulatedXenHost.StartAsync(socket);
            var devicesOfHost = new RecordedHost(devices);
            using var host = xen.OpenHost() with { Pci = devicesOfHost, Pirqs = devicesOfHost };
            await using var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Socket(socket), settings.XenStore, stop);
            using var backend = BackendHost.Build(settings, host, client);
            await backend.StartAsync(stop);
            try
            {
                var guest = await xen.CreateGuestAsync("replay", [.. devices.Keys], new FrontendOptions { LooksForDevices = false, RequestTimeout = Patience });
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop);
                patience.CancelAfter(Patience);
                await guest.Frontend.WaitUntilConnectedAsync(patience.Token);
                foreach (var (index, operation) in operations.Index())
                    if (await SendAsync(guest.Frontend, operation, devices) is { } difference)
                        return string.Create(CultureInfo.InvariantCulture, $"Operation {index + 1} of guest {recordedGuest} differs:\n{operation.ToText()}\n{difference}");
                return null;
            }
            finally
            {
                await backend.StopAsync(CancellationToken.None);
            }
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static async Task<string?> SendAsync(SimulatedFrontend frontend, TraceLine operation, IReadOnlyDictionary<HostBdf, RecordedDevice> devices)
    {
        var device = HostBdf.TryParse(operation.Device, out var bdf) ? devices.GetValueOrDefault(bdf) : null;
        device?.Expect(operation.Accesses);
        // An address nobody can have stands for the one at which the guest had nothing.
        var (segment, bus, devFn) = device is null ? (uint.MaxValue, uint.MaxValue, uint.MaxValue) : (bdf.Segment, bdf.Bus, bdf.DevFn);
        var answer = await frontend.SendAsync(new FrontendRequest(operation.Code, segment, bus, devFn, operation.Offset, operation.Size, operation.Value) { MsixEntries = [.. operation.Entries] });

        var touched = device?.TakeDifference();
        var vectors = operation.Code == (uint)PciOpCode.EnableMsix && operation.Error == 0 ? operation.Vectors : [];
        var same = (answer.Error, answer.Value) == (operation.Error, operation.Answer) && vectors.SequenceEqual(answer.Vectors.Take(vectors.Count));
        if (same && touched is null) return null;
        return string.Create(CultureInfo.InvariantCulture,
            $"  recorded: err {operation.Error} value {operation.Answer:x}\n  now:      err {answer.Error} value {answer.Value:x}{(touched is null ? "" : "\n  device:   " + touched)}");
    }
}
