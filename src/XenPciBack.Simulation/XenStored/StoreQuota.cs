namespace XenPciBack.Simulation.XenStored;

/// <summary>What an unprivileged domain may use; C xenstored's defaults (tools/xenstored, 4.17 to 4.20).</summary>
internal static class StoreQuota
{
    public const int NodesPerDomain = 1000;
    public const int Watches = 128;
    public const int Transactions = 10;
    public const int NodesInTransaction = 1024;
    public const int PermissionsPerNode = 5;

    /// <summary>Value and names of children together, in bytes. C xenstored also counts its record header.</summary>
    public const int NodeSize = 2048;
}
