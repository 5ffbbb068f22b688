using Akka.Actor;
using Akka.Event;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using XenPciBack.Daemon.Composition;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Host;
using XenPciBack.Simulation;
using XenPciBack.XenStore;

namespace XenPciBack.Benchmarks;

/// <summary>
/// The backend as the daemon has it, on an embedded host. Disposing it takes nothing from the guests, as the end of the
/// daemon's process does not.
/// </summary>
internal sealed class RunningBackend : IAsyncDisposable
{
    private readonly XenHost _host;
    private readonly XenStoreClient _client;
    private readonly IHost _backend;

    private RunningBackend(XenHost host, XenStoreClient client, IHost backend) =>
        (_host, _client, _backend) = (host, client, backend);

    public IServiceProvider Services => _backend.Services;

    public static async Task<RunningBackend> StartAsync(SimulatedXenHost xen, DaemonSettings settings)
    {
        var (host, client) = (xen.OpenHost(), await XenStoreClient.ConnectAsync(xen.XenStored.Endpoint));
        var backend = BackendHost.Build(settings, host, client);
        await backend.StartAsync();
        return new RunningBackend(host, client, backend);
    }

    public async ValueTask DisposeAsync()
    {
        // Akka prints what a logger has not written when it ends.
        Services.GetRequiredService<ActorSystem>().EventStream.SetLogLevel(LogLevel.ErrorLevel);
        await _backend.StopAsync();
        _backend.Dispose();
        await _client.DisposeAsync();
        _host.Dispose();
    }
}
