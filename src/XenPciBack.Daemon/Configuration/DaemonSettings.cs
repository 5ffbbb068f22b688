using System.Collections.Immutable;
using Akka.Configuration;
using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Fleet;
using XenPciBack.Protocol.Hiding;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Configuration;

/// <summary>Everything hocon.conf says, read and validated once.</summary>
/// <param name="XenStoreSocket">null: search as libxenstore does.</param>
/// <param name="ControlSocket">Where the daemon's own command line finds it.</param>
/// <param name="Hide">Devices to set aside for guests when the daemon begins to serve.</param>
/// <param name="IsFleetEnabled">Whether a daemon joins the fleet; a monitor does in any case.</param>
/// <param name="Akka">The whole configuration, for the actor system.</param>
internal sealed record DaemonSettings(
    BackendSettings Backend, string? XenStoreSocket, XenStoreClientOptions XenStore, LogEventLevel LogLevel, string ControlSocket,
    ImmutableArray<HidePattern> Hide, bool IsFleetEnabled, FleetSettings Fleet, WebSettings Web, Config Akka)
{
    public XenStoreEndpoint XenStoreEndpoint => XenStoreSocket is null ? XenStoreEndpoint.Discover() : XenStoreEndpoint.Socket(XenStoreSocket);
}

/// <summary>One or more settings are wrong; every one is named with its value and what was expected.</summary>
internal sealed class SettingsException(IReadOnlyList<string> faults) : Exception(string.Join(Environment.NewLine, faults))
{
    public IReadOnlyList<string> Faults { get; } = faults;
}
