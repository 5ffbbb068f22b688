using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using XenPciBack.Daemon.Composition;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Daemon.Fleet;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Tests;

/// <summary>What becomes of a daemon's web view is no matter of its guests.</summary>
public sealed class ExposureTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly TcpListener _other = new(IPAddress.Loopback, 0);
    private readonly Warnings _warnings = new();

    public ExposureTests() => Log.Logger = new LoggerConfiguration().WriteTo.Sink(_warnings, LogEventLevel.Warning).CreateLogger();

    public void Dispose()
    {
        Log.Logger = Logger.None;
        _other.Dispose();
        _directory.Dispose();
    }

    [Fact]
    public async Task A_daemon_whose_web_address_is_taken_says_so_serves_its_guests_and_shows_itself_as_soon_as_it_can()
    {
        _other.Start();
        var taken = _other.LocalEndpoint.ToString()!;
        var settings = SettingsReader.Read($$"""
            xenpciback {
              control-socket = "{{_directory.Path}}/control"
              web { listen = "{{taken}}", socket = "{{_directory.Path}}/web" }
            }
            """, "test");
        await using var xen = await DemoHost.StartAsync(Path.Combine(_directory.Path, "xenstored"));
        using var host = xen.OpenHost();
        await using var client = await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint);
        using var backend = BackendHost.Build(settings, host, client);
        await backend.StartAsync();
        await using (var exposure = Exposure.OfHost(settings, backend.Services, () => true))
        {
            await Eventually.IsTrueAsync(
                () => _warnings.Lines.Any(line => line.Contains(taken, StringComparison.Ordinal)));
            Assert.Null(exposure.Address);
            var guest = await xen.CreateGuestAsync("web", [.. DemoHost.Guests[0].Devices]);
            await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
            Assert.Equal(DemoHost.Guests[0].Devices.Count, guest.Frontend.Devices.Length);

            // As the daemon before this one does when it ends.
            _other.Stop();
            await Eventually.IsTrueAsync(() => exposure.Address is not null);
            Assert.Equal($"http://{taken}", exposure.Address);
            using var browser = new HttpClient();
            var fleet = new Uri($"{exposure.Address}/api/fleet");
            await Eventually.IsTrueAsync(async () =>
                (await browser.GetStringAsync(fleet)).Contains("\"name\":\"web\"", StringComparison.Ordinal));
            Assert.Equal($"the web view cannot be served: Failed to bind to address http://{taken}: address already in use; it is tried again until it can",
                Assert.Single(_warnings.Lines, line => line.Contains(taken, StringComparison.Ordinal)));
        }
        await backend.StopAsync();
    }

    private sealed class Warnings : ILogEventSink
    {
        private readonly ConcurrentQueue<string> _lines = new();

        public IReadOnlyCollection<string> Lines => _lines;

        public void Emit(LogEvent logEvent) => _lines.Enqueue(logEvent.RenderMessage(System.Globalization.CultureInfo.InvariantCulture));
    }
}
