namespace XenPciBack.Benchmarks.Scale;

/// <summary>What one round measured with so many guests.</summary>
/// <param name="ConnectMs">For all guests, divided by their number.</param>
/// <param name="MemoryKiB">Of the backend alone, for each guest, without what it has before the first one.</param>
/// <param name="IdlePercent">Of one core, by the backend and the embedded host.</param>
/// <param name="IdleWithoutBackendPercent">Of it, by the embedded host.</param>
/// <param name="P50Us">Of a request while all guests ask, as <paramref name="P99Us"/>.</param>
/// <param name="DestroyMs">For one guest among all the others.</param>
internal sealed record ScaleRound(
    int Guests, double ConnectMs, double MemoryKiB, double IdlePercent, double IdleWithoutBackendPercent,
    double OperationsPerSecond, double P50Us, double P99Us, double DestroyMs);
