using Serilog;
using XenPciBack.Backend;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Logging;

/// <summary>What a log line of the daemon's own has besides its text, as the lines of actors have it.</summary>
internal static class LogLines
{
    /// <summary>The lines that are written through the result have this id, one of <see cref="LogEvents"/>.</summary>
    public static ILogger As(this ILogger log, string id) => log.ForContext(LogEvents.EventProperty, id);

    /// <summary>The lines that are written through the result are about this guest.</summary>
    public static ILogger About(this ILogger log, DomainId guest) =>
        log.ForContext(LogEvents.GuestProperty, guest.Value);

    /// <summary>The lines that are written through the result are about this device.</summary>
    public static ILogger About(this ILogger log, HostBdf device) =>
        log.ForContext(LogEvents.DeviceProperty, device.ToString());
}
