using System.Net.Sockets;
using System.Text.Json;
using Akka.Actor;
using Akka.Hosting;
using Microsoft.Extensions.Hosting;
using Serilog;
using XenPciBack.Backend;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Backend.Tracing;
using XenPciBack.Daemon.Logging;
using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Control;

/// <summary>Lets a fault happen, by name.</summary>
/// <returns>What has happened to whom, or why nothing has.</returns>
internal delegate Task<(string? Injected, string? Error)> FaultInjector(string name);

/// <summary>
/// The daemon's Unix socket for its own command line, open to its owner (root) only. A client sends one line of JSON and gets
/// lines of JSON until one side closes.
/// </summary>
internal sealed partial class ControlServer(
    string path, XenStoreClient store, Quarantine quarantine, FaultInjector? faults, Handover? handover, Drain? drain, Task turn,
    IRequiredActor<PciBackend> backend, IRequiredActor<HostStatusKeeper> status) : BackgroundService
{
    // Longer than any request there is.
    private const int LongestRequest = 4096;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // The command line finds the daemon that serves.
        await turn.WaitAsync(stoppingToken).ConfigureAwait(false);
        using var listener = Listen();
        if (listener is null) return;
        try
        {
            while (true)
            {
                var client = await listener.AcceptAsync(stoppingToken).ConfigureAwait(false);
                _ = ServeAsync(client, stoppingToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The socket's name may be another daemon's by now.
        }
    }

    private Socket? Listen()
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            // What a daemon that was killed has left behind; one that lives goes on with the connections it has.
            File.Delete(path);
            listener.Bind(new UnixDomainSocketEndPoint(path));
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen();
            return listener;
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException)
        {
            Log.Warning("The control socket {Path} cannot be made, so that xenpciback trace finds nobody: {Cause}", path, e.Message);
            listener.Dispose();
            return null;
        }
    }

    private async Task ServeAsync(Socket socket, CancellationToken stop)
    {
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        try
        {
            await AnswerAsync(stream, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or JsonException or OperationCanceledException or XenStoreException or AskTimeoutException)
        {
            // The client is gone, or never spoke this language; or what it wanted to know could not be found out, and it sees the end.
        }
    }

    private async Task AnswerAsync(NetworkStream stream, CancellationToken stop)
    {
        var request = JsonSerializer.Deserialize<ControlRequest>(await ReadLineAsync(stream, stop).ConfigureAwait(false), ControlJson.Options);
        await (request switch
        {
            { Trace: { } subject } => TraceAsync(stream, subject, stop),
            { ListQuarantine: true } => SendAsync(stream, Quarantined(clear: null), stop),
            { ClearQuarantine: { } device } => SendAsync(stream, Quarantined(device), stop),
            { Status: { } subject, Follow: var follow } => StatusAsync(stream, subject, follow == true, stop),
            { Incidents: { } after, Follow: var follow } => IncidentsAsync(stream, after, follow == true, stop),
            { ConfigView: { } of } => SendAsync(stream, await ConfigViewAsync(of).ConfigureAwait(false), stop),
            { Fault: { } fault } => SendAsync(stream, await InjectAsync(fault).ConfigureAwait(false), stop),
            { HandOver: true } => HandOverAsync(stream, stop),
            { Drain: true } => DrainAsync(stream, stop),
            _ => SendAsync(stream, new ControlAnswer("this daemon does not know the request; is the command of another version?"), stop),
        }).ConfigureAwait(false);
    }

    private async Task<ControlAnswer> InjectAsync(string name) =>
        faults is null ? new ControlAnswer("faults can be injected into xenpciback demo, not into the daemon of a real host")
        : await faults(name).ConfigureAwait(false) is var (injected, error) && error is null ? new ControlAnswer(Injected: injected) : new ControlAnswer(error);

    // Told before anything happens: this daemon may be gone before it could say that it has let go.
    private async Task HandOverAsync(Stream stream, CancellationToken stop)
    {
        var next = handover?.Next;
        await SendAsync(stream, handover is null ? new ControlAnswer("the demo has nobody to hand over to")
            : next is { } process ? new ControlAnswer(HandsOverTo: process)
            : new ControlAnswer("nobody stands by; start the daemon that is to take over with xenpciback run, and wait until it says that it stands by"), stop).ConfigureAwait(false);
        if (next is not null) handover!.Begin();
    }

    private async Task DrainAsync(Stream stream, CancellationToken stop)
    {
        if (drain is null)
        {
            await SendAsync(stream, new ControlAnswer("the demo ends with Ctrl-C"), stop).ConfigureAwait(false);
            return;
        }
        var (devices, refusal) = await drain.AskAsync().ConfigureAwait(false);
        try
        {
            await SendAsync(stream, refusal is null ? new ControlAnswer(Drained: devices) : new ControlAnswer(refusal), stop).ConfigureAwait(false);
        }
        finally
        {
            if (refusal is null) drain.End();
        }
    }

    private ControlAnswer Quarantined(HostBdf? clear)
    {
        try
        {
            if (clear is { } device && !quarantine.Clear(device)) return new ControlAnswer($"{device} is not in quarantine");
            if (clear is { } cleared)
                Log.Logger.As(LogEvents.QuarantineCleared).About(cleared)
                    .Information("The device is out of quarantine");
            return new ControlAnswer(Quarantined: quarantine.Devices);
        }
        catch (IOException e)
        {
            return new ControlAnswer($"the record of the quarantine: {e.Message}");
        }
    }

    private async Task TraceAsync(NetworkStream stream, string subject, CancellationToken stop)
    {
        if (HostBdf.TryParse(subject, out var device))
            await TraceAsync(stream, new TraceSink(null, device), stop).ConfigureAwait(false);
        else if (subject.Length == 0)
            await TraceAsync(stream, new TraceSink(null, null), stop).ConfigureAwait(false);
        else if (await FindGuestAsync(subject).ConfigureAwait(false) is { } guest)
            await TraceAsync(stream, new TraceSink(guest, null), stop).ConfigureAwait(false);
        else
            await SendAsync(stream, new ControlAnswer($"there is no guest '{subject}'; expected a domain id, a name, or a device as ssss:bb:dd.f"), stop).ConfigureAwait(false);
    }

    private async Task TraceAsync(NetworkStream stream, TraceSink sink, CancellationToken stop)
    {
        using var closed = CancellationTokenSource.CreateLinkedTokenSource(stop);
        _ = CancelAtEndAsync(stream, closed);
        backend.ActorRef.Tell(new TraceMessages.Start(sink));
        try
        {
            // The backend handles its messages in their order.
            await backend.ActorRef.Ask<ActorIdentity>(new Identify(null), closed.Token).ConfigureAwait(false);
            await SendAsync(stream, new ControlAnswer(IsTracing: true), closed.Token).ConfigureAwait(false);
            await foreach (var operation in sink.Operations.ReadAllAsync(closed.Token).ConfigureAwait(false))
            {
                if (operation.Description is { } device)
                    await SendAsync(stream, new ControlAnswer(Device: new TracedDevice(operation.Guest.Value, device)), closed.Token).ConfigureAwait(false);
                await SendAsync(stream, new ControlAnswer(Operation: TraceLine.Of(operation, sink.TakeMissed())), closed.Token).ConfigureAwait(false);
            }
        }
        finally
        {
            backend.ActorRef.Tell(new TraceMessages.Stop(sink));
        }
    }

    // A client says nothing more; that it can be read from again means that it has gone.
    private static async Task CancelAtEndAsync(NetworkStream stream, CancellationTokenSource closed)
    {
        try
        {
            await stream.ReadExactlyAsync(new byte[1], closed.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Its end, or ours.
        }
        try
        {
            await closed.CancelAsync().ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            // The trace has ended first.
        }
    }

    private async Task<DomainId?> FindGuestAsync(string subject)
    {
        if (DomainId.TryParse(subject, out var id)) return id;
        var domains = XenStorePath.Root / "local/domain";
        foreach (var name in await store.ListAsync(domains).ConfigureAwait(false) ?? [])
            if (DomainId.TryParse(name, out id) && await store.ReadAsync(domains / name / "name").ConfigureAwait(false) == subject)
                return id;
        return null;
    }

    private static async Task<string> ReadLineAsync(Stream stream, CancellationToken stop)
    {
        var line = new MemoryStream();
        var one = new byte[1];
        while (line.Length < LongestRequest)
        {
            await stream.ReadExactlyAsync(one, stop).ConfigureAwait(false);
            if (one[0] == '\n') return System.Text.Encoding.UTF8.GetString(line.ToArray());
            line.WriteByte(one[0]);
        }
        throw new IOException("the request has no end");
    }

    private static async Task SendAsync(Stream stream, ControlAnswer answer, CancellationToken stop) =>
        await stream.WriteAsync(ControlJson.Line(answer), stop).ConfigureAwait(false);
}
