namespace XenPciBack.Simulation.Tests;

/// <summary>How long a test waits for what should come soon: long enough for the busiest machine, and only ever spent by a failure.</summary>
internal static class Patience
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static CancellationToken Token => new CancellationTokenSource(Limit).Token;
}
