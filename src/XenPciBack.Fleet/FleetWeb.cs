using System.Diagnostics.Metrics;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry.Metrics;
using XenPciBack.Fleet.Web;

namespace XenPciBack.Fleet;

/// <summary>
/// What a node shows: the dashboard, <c>/metrics</c> for Prometheus, <c>/health/live</c> and <c>/health/ready</c>. It can only be read. Besides its address it
/// is served on a Unix socket for this machine's own command line, open to its owner only.
/// </summary>
public sealed class FleetWeb : IAsyncDisposable
{
    private const int MostConnections = 256;

    // Of one instrument. The library keeps the place of a series that is no more, so these are those of all guests that a daemon ever has: of thousands, where 2000, its
    // default, would be enough for hundreds. Those beyond go into one that says so.
    private const int MostSeries = 20_000;

    // The dashboard's viewers are let go of first.
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(2);

    private readonly WebApplication _app;
    private readonly Meter _meter;

    private FleetWeb(WebApplication app, Meter meter) => (_app, _meter) = (app, meter);

    /// <summary>As a browser takes it; null where only the Unix socket is served.</summary>
    public string? Address => _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.FirstOrDefault(address => !address.Contains("unix", StringComparison.Ordinal));

    /// <param name="name">Of this node.</param>
    /// <param name="isReady">Whether the node does what it is for.</param>
    /// <exception cref="FleetException">It would speak plain text off loopback, or an address is taken.</exception>
    public static async Task<FleetWeb> StartAsync(WebSettings settings, string name, FleetBoard board, ConfigViewSource views, Func<bool> isReady, FleetThreads threads)
    {
        if (settings is { Listen: { } off, Certificate: null } && !System.Net.IPAddress.IsLoopback(off.Address))
            throw new FleetException($"the web view is to listen at {off}, which other machines reach, without a certificate; name one in xenpciback.web.tls, or listen at 127.0.0.1");

        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.MaxRequestBodySize = 0;
            if (settings.Listen is { } at)
                kestrel.Listen(at, listen =>
                {
                    if (settings.Certificate is { } certificate) listen.UseHttps(certificate);
                });
            kestrel.ListenUnixSocket(settings.Socket);
        });
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton<IHostLifetime, NoSignals>();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = StopPatience);
        builder.Services.AddOpenTelemetry().WithMetrics(metrics =>
        {
            metrics.AddMeter("XenPciBack*", "System.Runtime").AddPrometheusExporter()
                .AddView(instrument => instrument is ObservableInstrument<long> { Meter.Name: "XenPciBack" } ? new MetricStreamConfiguration { CardinalityLimit = MostSeries } : null);
            if (settings.Otlp is { } otlp) metrics.AddOtlpExporter(exporter => exporter.Endpoint = otlp);
        });

        var app = builder.Build();
        // Whoever asks, the work is done on the fleet's own threads.
        app.Use((context, next) => Task.Factory.StartNew(() => next(context), CancellationToken.None, TaskCreationOptions.None, threads).Unwrap());
        app.UseRouting();
        app.MapPrometheusScrapingEndpoint("/metrics");
        app.MapGet("/health/live", (RequestDelegate)(context => context.Response.WriteAsync("live\n")));
        app.MapGet("/health/ready", (RequestDelegate)(context =>
        {
            var ready = isReady();
            context.Response.StatusCode = ready ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
            return context.Response.WriteAsync(ready ? "ready\n" : "not ready\n");
        }));
        app.MapDashboard(board, views, new DashboardTimes(), name);

        var meter = Instruments(board);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(settings.Socket)!);
            if (IsServed(settings.Socket)) throw new IOException($"another process answers at {settings.Socket}");
            // What a process that was killed has left behind.
            File.Delete(settings.Socket);
            await app.StartAsync().ConfigureAwait(false);
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(settings.Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or SocketException)
        {
            meter.Dispose();
            await app.DisposeAsync().ConfigureAwait(false);
            throw new FleetException($"the web view cannot be served: {e.Message.TrimEnd('.')}");
        }
        return new FleetWeb(app, meter);
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync().ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
        _meter.Dispose();
    }

    private static bool IsServed(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static Meter Instruments(FleetBoard board)
    {
        var meter = new Meter("XenPciBack.Fleet");
        meter.CreateObservableUpDownCounter("xenpciback.fleet.hosts", () => Enum.GetValues<Presence>().Select(presence => new Measurement<int>(
            board.State.Hosts.Values.Count(host => host.Presence == presence), new KeyValuePair<string, object?>("presence", presence.ToString().ToLowerInvariant()))),
            "{host}", "Hosts that this node knows of.");
        return meter;
    }

    /// <summary>Signals are the command's business.</summary>
    private sealed class NoSignals : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
