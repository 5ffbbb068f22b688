using XenPciBack.Protocol;

namespace XenPciBack.Actors;

/// <summary>What the backend itself can be told; hocon.conf at the root documents every value, its unit and range.</summary>
/// <param name="Domain">The domain this backend runs in; its xenstore directory is <c>/local/domain/N/backend/pci</c>.</param>
/// <param name="RequestsPerTurn">Requests of one guest served in a row before the others get their turn.</param>
/// <param name="GuestPatience">How long a frontend waits for an answer; a later one may belong to a request it has given up.</param>
/// <param name="HotPlugPatience">How long a frontend may take to answer a change of its devices before it is carried out without it.</param>
/// <param name="StoreRetry">Pause before a failed xenstore access of one guest is tried again.</param>
public sealed record BackendSettings(DomainId Domain, int RequestsPerTurn, TimeSpan GuestPatience, TimeSpan HotPlugPatience, TimeSpan StoreRetry);
