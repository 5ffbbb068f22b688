namespace XenPciBack.Host;

/// <summary>Everything of a host that the backend needs, real or simulated. Disposing closes it all.</summary>
public sealed record XenHost(IGrantTable Grants, IEventChannels EventChannels, IHypervisor Hypervisor, IGuestPirqs Pirqs, IPciHost Pci, IAerFeed Aer) : IDisposable
{
    public required IToolstack Toolstack { get; init; }

    public required IDeviceRecords DeviceRecords { get; init; }

    /// <summary>What is to be done to guests whatever becomes of this process; ends with the host's uptime, as domains
    /// do.</summary>
    public required IRecords Intents { get; init; }

    /// <summary>What outlives the host's uptime as well.</summary>
    public required IRecords LastingRecords { get; init; }

    /// <summary>The host's clock, for everything that is not measured on the data plane. Tests put their own in its place.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    public void Dispose()
    {
        EventChannels.Dispose();
        Grants.Dispose();
        Hypervisor.Dispose();
    }
}

/// <summary>This machine cannot run the backend: what is missing, where it was looked for, and what to do.</summary>
/// <param name="message">One sentence or two for the administrator.</param>
/// <param name="exitCode">Exit code of the daemon, from sysexits.h: 69 unavailable, 77 no permission, 71 system error.</param>
public sealed class HostUnavailableException(string message, int exitCode) : Exception(message)
{
    public int ExitCode { get; } = exitCode;
}
