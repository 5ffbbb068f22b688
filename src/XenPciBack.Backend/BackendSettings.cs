using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Backend;

/// <summary>What the backend itself can be told; hocon.conf at the root documents every value, its unit and range.</summary>
/// <param name="Domain">The domain this backend runs in; its xenstore directory is <c>/local/domain/N/backend/pci</c>.</param>
/// <param name="Loops">Event loops at most: as many guests wait for nobody else's device, further ones share.</param>
/// <param name="Turn">How long one guest is served before the others of its event loop.</param>
/// <param name="GuestPatience">How long a frontend waits for an answer; a later one may belong to a request it has given up.</param>
/// <param name="HotPlugPatience">How long a frontend may take to answer a change of its devices before it is carried out without it.</param>
/// <param name="StoreRetry">Pause before a failed xenstore access of one guest is tried again.</param>
public sealed record BackendSettings(
    DomainId Domain, int Loops, TimeSpan Turn, TimeSpan GuestPatience, TimeSpan HotPlugPatience, TimeSpan StoreRetry)
{
    public Topologies Topologies { get; init; } = new(Topology.Vpci);

    public DevicePolicies Devices { get; init; } = new();

    public AerPolicies Aer { get; init; } = new(AerResponse.Kill, StepPatience: TimeSpan.FromSeconds(10), CorrectableLimit: 0, CorrectableWindow: TimeSpan.FromMinutes(1));
}

/// <summary>What guests may do with devices beyond the default; whatever the host's own switches and the toolstack allow comes on top.</summary>
/// <param name="Permissive">For every device.</param>
public sealed record DevicePolicies(bool Permissive = false)
{
    public ImmutableDictionary<HostBdf, ConfigPolicy> ByDevice { get; init; } = ImmutableDictionary<HostBdf, ConfigPolicy>.Empty;

    public ImmutableArray<ConfigQuirk> Quirks { get; init; } = [];

    /// <summary>Every device is made to report its errors.</summary>
    public bool ReportErrors { get; init; }

    public ConfigPolicy Of(HostBdf device) =>
        (ByDevice.GetValueOrDefault(device) ?? new ConfigPolicy()).Or(new ConfigPolicy(Permissive) { Quirks = [.. Quirks.Where(quirk => quirk.Device == device)], ReportErrors = ReportErrors });
}
