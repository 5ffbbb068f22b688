using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using XenPciBack.Backend.Status;

namespace XenPciBack.Fleet.Tests;

/// <summary>How a node shows itself, whatever it shows.</summary>
public sealed class FleetWebTests : IDisposable
{
    private readonly FleetThreads _threads = new(() => { });
    private readonly TemporaryDirectory _directory = new();

    private string Place => _directory["web"];

    public void Dispose()
    {
        _threads.Dispose();
        _directory.Dispose();
    }

    private Task<FleetWeb> StartAsync(X509Certificate2? certificate = null, Uri? collector = null) => FleetWeb.StartAsync(
        new WebSettings(new IPEndPoint(IPAddress.Loopback, 0), Place, certificate, collector), "node", new FleetBoard(), (_, _, _, _) => Task.FromResult<ConfigView?>(null), () => true, _threads);

    [Fact]
    public async Task With_a_certificate_browsers_are_shown_it_and_nothing_is_said_in_plain_text()
    {
        using var authority = new Certificates("authority");
        using var certificate = authority.Of("node").Certificate;
        await using var web = await StartAsync(certificate);
        using var handler = new HttpClientHandler { ServerCertificateCustomValidationCallback = (_, shown, _, _) => shown?.Thumbprint == certificate.Thumbprint };
        using var browser = new HttpClient(handler);
        Assert.StartsWith("https://127.0.0.1:", web.Address, StringComparison.Ordinal);
        Assert.Equal("ready\n", await browser.GetStringAsync(new Uri($"{web.Address}/health/ready")));
        Assert.Contains("xenpciback_fleet_hosts{", await browser.GetStringAsync(new Uri($"{web.Address}/metrics")), StringComparison.Ordinal);
        await Assert.ThrowsAsync<HttpRequestException>(() => browser.GetStringAsync(new Uri($"http{web.Address!["https".Length..]}/health/ready")));
    }

    [Fact]
    public async Task A_collector_of_telemetry_is_sent_the_metrics_at_the_latest_when_the_node_ends()
    {
        var sent = new TaskCompletionSource<(string Path, string Text)>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var collector = await CollectorAsync(sent);
        var address = collector.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        await using (await StartAsync(collector: new Uri(address))) { }
        var (path, text) = await sent.Task.WaitAsync(Eventually.Patience);
        Assert.Equal("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", path);
        Assert.Contains("xenpciback.fleet.hosts", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task After_thousands_of_guests_that_have_gone_those_of_now_are_shown_and_no_others()
    {
        const int guests = 1500, lives = 3;
        await using var web = await StartAsync();
        using var browser = new HttpClient();
        var life = 0;
        using var meter = new Meter("XenPciBack");
        meter.CreateObservableCounter("xenpciback.operations", () => Enumerable.Range(life * guests, guests).Select(domain => new Measurement<long>(1, new KeyValuePair<string, object?>("domain", $"{domain}"))));
        for (; life < lives; life++)
        {
            var shown = "";
            // What was made for one who has just asked is given to the next one too.
            await Eventually.IsTrueAsync(async () => (shown = await browser.GetStringAsync(new Uri($"{web.Address}/metrics"))).Contains($"domain=\"{life * guests}\"", StringComparison.Ordinal));
            Assert.Equal(guests, shown.Split('\n').Count(line => line.StartsWith("xenpciback_operations_total{", StringComparison.Ordinal)));
        }
    }

    [Fact]
    public async Task A_socket_at_which_another_process_answers_is_left_to_it()
    {
        await using var first = await StartAsync();
        var fault = await Assert.ThrowsAsync<FleetException>(() => StartAsync());
        Assert.Equal($"the web view cannot be served: another process answers at {Place}", fault.Message);
        using var browser = AtSocket();
        Assert.Equal("ready\n", await browser.GetStringAsync(new Uri("http://localhost/health/ready")));
    }

    [Fact]
    public async Task What_a_killed_process_has_left_of_its_socket_is_taken_away_and_only_the_owner_may_ask_at_the_new_one()
    {
        using (var killed = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // One that is disposed takes its own away.
            killed.Bind(new UnixDomainSocketEndPoint(Place + ".bound"));
            File.Move(Place + ".bound", Place);
        }
        Assert.True(File.Exists(Place));
        await using var web = await StartAsync();
        using var browser = AtSocket();
        Assert.Equal("live\n", await browser.GetStringAsync(new Uri("http://localhost/health/live")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, new FileInfo(Place).UnixFileMode);
    }

    private HttpClient AtSocket() => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, stop) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(Place), stop);
            return new NetworkStream(socket, ownsSocket: true);
        },
    });

    /// <summary>As much of gRPC as it takes to be sent one message and to thank for it.</summary>
    private static async Task<WebApplication> CollectorAsync(TaskCompletionSource<(string Path, string Text)> sent)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2));
        var collector = builder.Build();
        collector.Run(async context =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            sent.TrySetResult((context.Request.Path, Encoding.Latin1.GetString(body.ToArray())));
            context.Response.ContentType = "application/grpc";
            // Neither compressed nor of any length.
            await context.Response.Body.WriteAsync(new byte[5]);
            context.Response.AppendTrailer("grpc-status", "0");
        });
        await collector.StartAsync();
        return collector;
    }
}
