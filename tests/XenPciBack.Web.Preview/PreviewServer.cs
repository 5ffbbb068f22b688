using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Logging;
using XenPciBack.Fleet;
using XenPciBack.Fleet.Web;

namespace XenPciBack.Web.Preview;

/// <summary>The dashboard on a port of the loopback address, without a cluster.</summary>
public sealed class PreviewServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private PreviewServer(WebApplication app) => _app = app;

    public Uri Address => new(_app.Urls.Single());

    /// <param name="times">null: the dashboard's own.</param>
    /// <param name="port">0: any that is free.</param>
    public static async Task<PreviewServer> StartAsync(
        FleetBoard board, ConfigViewSource config, DashboardTimes? times = null, int port = 0)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        var app = builder.Build();
        app.MapDashboard(board, config, times ?? new DashboardTimes(), "monitor.example");
        await app.StartAsync();
        return new PreviewServer(app);
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();
}
