using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using Akka.Actor;
using Microsoft.Extensions.DependencyInjection;
using Serilog;
using Spectre.Console;
using XenPciBack.Daemon.Composition;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Daemon.Fleet;
using XenPciBack.Daemon.Logging;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback demo</c>: the same backend on an embedded Xen host, with three guests and six devices.</summary>
internal static class DemoCommand
{
    // Milliseconds on a quiet machine; a busy one gets all the time it may need.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public static Command Create()
    {
        var once = new Option<bool>("--once") { Description = "End by itself, with a summary, when every guest has found its devices and let go of them" };
        var socket = new Option<string?>("--xenstored-socket") { Description = "Where the embedded xenstored listens (default: a new directory under the temporary one)", HelpName = "PATH" };
        var config = new Option<string?>("--config") { Description = "Settings that override the built-in ones", HelpName = "FILE" };
        var fault = new Option<string?>("--fault") { Description = "Let something break once the guests are connected; xenpciback fault does it later", HelpName = "NAME" };
        var fleet = new Option<int?>("--fleet") { Description = $"So many embedded hosts instead, and a monitor, each a process of its own: 1 to {DemoFleet.MostHosts}", HelpName = "HOSTS" };
        fleet.Validators.Add(parsed =>
        {
            if (parsed.GetValueOrDefault<int?>() is < 1 or > DemoFleet.MostHosts) parsed.AddError($"--fleet takes 1 to {DemoFleet.MostHosts} hosts");
        });
        var parent = ChildProcesses.EndsWithParent();
        fault.AcceptOnlyFromAmong([.. FaultCatalogue.All.Select(known => known.Name)]);
        var command = new Command("demo", $"Serve three guests of an embedded Xen host, on any machine. Faults:\n{FaultCommand.Catalogue}") { once, fault, fleet, socket, config, parent };
        command.SetAction(async (parse, stop) =>
        {
            using var end = ChildProcesses.EndOf(parse.GetValue(parent), stop);
            try
            {
                return parse.GetValue(fleet) is { } hosts ? await DemoFleet.RunAsync(hosts, end.Token)
                    : await RunAsync(parse.GetValue(once), parse.GetValue(fault), parse.GetValue(socket), parse.GetValue(config), end.Token);
            }
            catch (OperationCanceledException) when (end.IsCancellationRequested)
            {
                return ExitCode.Success;
            }
        });
        return command;
    }

    private static async Task<int> RunAsync(bool once, string? fault, string? socket, string? config, CancellationToken stop)
    {
        var settings = SettingsReader.Load(config);
        var recentLog = new RecentLog(isShownHere: AnsiConsole.Profile.Out.IsTerminal);
        Log.Logger = recentLog.IsShownHere ? ConsoleLog.CreateFor(recentLog, settings.LogLevel) : ConsoleLog.Create(settings.LogLevel);

        using var directory = socket is null ? new TemporaryDirectory() : null;
        socket ??= Path.Combine(directory!.Path, "xenstored");
        settings = settings with
        {
            ControlSocket = socket + ".control",
            // Several demos run beside each other.
            Web = settings.Web with { Socket = socket + ".web", Listen = settings.Web.Listen is { } at ? new IPEndPoint(at.Address, 0) : null },
        };
        await using var xen = await DemoHost.StartAsync(socket);
        Console.WriteLine($"""
            An embedded Xen host with {DemoHost.DeviceCount} PCI devices. Its xenstore is open to Debian's own tools:
              XENSTORED_PATH={socket} xenstore-ls -f
            and what its guests ask of their devices to:
              xenpciback trace --socket {settings.ControlSocket}
            What is known of them says:
              xenpciback status --socket {settings.ControlSocket}
            Something breaks with:
              xenpciback fault NAME --socket {settings.ControlSocket}
            """);

        using var host = xen.OpenHost();
        await using var client = await XenStoreClient.ConnectAsync(XenStoreEndpoint.Socket(socket), settings.XenStore, stop);
        // A fault that is asked for earlier waits: guests that are still looking for their devices would be no demonstration of anything.
        var connected = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var backend = BackendHost.Build(settings, host, client, async name =>
        {
            await connected.Task.WaitAsync(stop);
            return await InjectAsync(xen, name);
        });
        var board = new DemoBoard(xen);
        board.Follow(backend.Services.GetRequiredService<ActorSystem>());
        await backend.StartAsync(stop);
        await using var exposure = once ? null : Exposure.OfHost(settings, backend.Services, () => true);
        try
        {
            return await ShowAsync(xen, new DemoScreen(board, recentLog), once, fault, connected.SetResult, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return ExitCode.Success;
        }
        finally
        {
            await backend.StopAsync(CancellationToken.None);
            File.Delete(settings.ControlSocket);
        }
    }

    /// <param name="onConnected">Called when every guest has found its devices.</param>
    private static async Task<int> ShowAsync(SimulatedXenHost xen, DemoScreen screen, bool once, string? fault, Action onConnected, CancellationToken stop)
    {
        var clock = Stopwatch.StartNew();
        IReadOnlyList<string> failures = [];
        await screen.ShowWhileAsync(async () => failures = await ConnectGuestsAsync(xen, stop));
        var connectedIn = clock.Elapsed;

        foreach (var guest in xen.Guests)
        {
            Console.WriteLine();
            Console.WriteLine($"{guest.Name} (domain {guest.Id}) sees:");
            Console.Write(Lspci.Describe(guest.Frontend.Devices));
        }
        Console.WriteLine();
        var (guests, devices) = (DemoHost.Guests.Count - failures.Count, xen.Guests.Sum(g => g.Frontend.Devices.Length));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{guests} guests connected, {devices} devices enumerated in {connectedIn.TotalSeconds:0.0} s"));

        if (failures.Count > 0) return Fail(failures);
        onConnected();
        if (fault is not null) await screen.ShowWhileAsync(() => BreakAsync(xen, fault, stop));
        if (!once)
        {
            Console.WriteLine("Serving until Ctrl-C.");
            await screen.ShowWhileAsync(() => ReadConfigAsync(xen, stop));
        }

        foreach (var guest in xen.Guests) await xen.DestroyGuestAsync(guest);
        if (!await ComesTrueAsync(() => xen.HeldByDom0 == Held.Nothing, CancellationToken.None)) return Fail([$"the backend still holds {xen.HeldByDom0} of guests that are gone"]);
        Console.WriteLine("Every guest is gone; every page, port and device was released.");
        return ExitCode.Success;
    }

    private static async Task<(string? Injected, string? Error)> InjectAsync(SimulatedXenHost xen, string name)
    {
        if (FaultCatalogue.Find(name) is not { } fault) return (null, $"there is no fault '{name}'; known are:\n{FaultCommand.Catalogue}");
        return await FaultCatalogue.InjectAsync(xen, fault) is { } injected ? (injected, null) : (null, "no guest with a device is left");
    }

    /// <summary>Lets the fault happen, and looks for what became of the guests.</summary>
    private static async Task BreakAsync(SimulatedXenHost xen, string fault, CancellationToken stop)
    {
        var before = xen.Guests;
        Console.WriteLine($"Fault {fault}: {(await InjectAsync(xen, fault)).Injected}");
        // Long enough for whatever follows from it on a quiet machine; a person sees the rest on the screen.
        using var reading = CancellationTokenSource.CreateLinkedTokenSource(stop);
        reading.CancelAfter(TimeSpan.FromSeconds(3));
        await ReadConfigAsync(xen, reading.Token);
        foreach (var guest in before.Union(xen.Guests))
        {
            var row = $"guest {guest.Name} (domain {guest.Id})";
            if (!xen.Guests.Contains(guest)) Console.WriteLine($"{row} is gone.");
            else Console.WriteLine($"{row} goes on: {guest.Frontend.AnsweredRequests} requests answered, {guest.Frontend.UnansweredRequests} not.");
        }
    }

    private static int Fail(IReadOnlyList<string> failures)
    {
        foreach (var failure in failures) Console.Error.WriteLine($"xenpciback: {failure}");
        return ExitCode.Failure;
    }

    /// <returns>What went wrong, a line for each guest that did not get its devices.</returns>
    private static async Task<IReadOnlyList<string>> ConnectGuestsAsync(SimulatedXenHost xen, CancellationToken stop)
    {
        var outcomes = await Task.WhenAll(DemoHost.Guests.Select(async plan =>
        {
            var guest = await xen.CreateGuestAsync(plan.Name, [.. plan.Devices]);
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop);
            patience.CancelAfter(Patience);
            try
            {
                await guest.Frontend.WaitUntilConnectedAsync(patience.Token);
            }
            catch (OperationCanceledException) when (!stop.IsCancellationRequested)
            {
                return $"guest {plan.Name} was not connected within {Patience.TotalSeconds} s; its frontend is in state {guest.Frontend.State}";
            }
            return guest.Frontend.Devices.Length == plan.Devices.Count ? null : $"guest {plan.Name} found {guest.Frontend.Devices.Length} of its {plan.Devices.Count} devices";
        }));
        return [.. outcomes.OfType<string>()];
    }

    /// <summary>A little traffic, so that there is something to see: every guest looks at its devices once a second.</summary>
    private static async Task ReadConfigAsync(SimulatedXenHost xen, CancellationToken stop)
    {
        using var tick = new PeriodicTimer(TimeSpan.FromSeconds(1));
        while (!stop.IsCancellationRequested)
        {
            foreach (var guest in xen.Guests)
            {
                try
                {
                    foreach (var device in guest.Frontend.Devices)
                        if (VirtualBdf.TryParse(device.Address, out var place))
                            await guest.Frontend.ReadConfigAsync(place.Segment, place.Bus, place.DevFn, 0, 4);
                }
                catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
                {
                    // It has ended in the middle of it.
                }
            }
            await ((Task)tick.WaitForNextTickAsync(stop).AsTask()).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task<bool> ComesTrueAsync(Func<bool> condition, CancellationToken stop)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            if (clock.Elapsed > Patience || stop.IsCancellationRequested) return condition();
            await Task.Delay(TimeSpan.FromMilliseconds(10), CancellationToken.None);
        }
        return true;
    }
}
