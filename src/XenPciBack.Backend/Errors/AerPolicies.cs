using System.Collections.Immutable;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Errors;

/// <summary>What becomes of a guest whose device has met an uncorrectable error.</summary>
public enum AerResponse
{
    /// <summary>The guest is crashed, its device set aside.</summary>
    Kill,

    /// <summary>Its driver is offered a recovery; it is crashed if there is no driver with error handlers, or the recovery fails.</summary>
    RecoverThenKill,

    /// <summary>The device is taken away through the toolstack; the guest goes on without it.</summary>
    Detach,

    /// <summary>Said in the log and nothing else.</summary>
    Report,
}

/// <summary>What is done about errors of devices; hocon.conf documents every value.</summary>
/// <param name="Response">To an uncorrectable error of a device that has no entry of its own.</param>
/// <param name="StepPatience">How long a guest may take for one step of a recovery.</param>
/// <param name="CorrectableLimit">More correctable errors of one device within <paramref name="CorrectableWindow"/> count as an uncorrectable one; 0: any number may come.</param>
public sealed record AerPolicies(AerResponse Response, TimeSpan StepPatience, long CorrectableLimit, TimeSpan CorrectableWindow)
{
    public ImmutableDictionary<HostBdf, AerResponse> ByDevice { get; init; } = ImmutableDictionary<HostBdf, AerResponse>.Empty;

    public AerResponse Of(HostBdf device) => ByDevice.TryGetValue(device, out var response) ? response : Response;
}
