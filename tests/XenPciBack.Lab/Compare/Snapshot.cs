namespace XenPciBack.Lab.Compare;

/// <summary>All that was seen of one guest under one backend.</summary>
internal sealed record Snapshot
{
    public required SortedDictionary<string, string> BackendNodes { get; init; }

    public required SortedDictionary<string, string> FrontendNodes { get; init; }

    public required IReadOnlyList<DeviceSnapshot> Devices { get; init; }

    /// <summary>Accesses the frontend gave up after 2 s; their results mean nothing.</summary>
    public required int LostAccesses { get; init; }

    /// <summary>What was left under backend/pci after xl destroy; empty when all is well.</summary>
    public required string Leftovers { get; init; }
}

/// <summary>One device: the guest's view of it, and dom0's before, during and after.</summary>
internal sealed record DeviceSnapshot
{
    /// <summary>QEMU's name of it.</summary>
    public required string Model { get; init; }

    public required string HostBdf { get; init; }

    public required string GuestBdf { get; init; }

    /// <summary>The whole config space as the guest reads it: 256 or 4096 bytes.</summary>
    public required byte[] Config { get; init; }

    /// <summary>lspci -vvv -xxxx.</summary>
    public required string Lspci { get; init; }

    /// <summary>Empty after a quick comparison.</summary>
    public required IReadOnlyList<ConfigAccess> Sweep { get; init; }

    public required byte[] ConfigAfterSweep { get; init; }

    public required byte[] HostConfigAfterSweep { get; init; }

    public required byte[] HostConfigBefore { get; init; }

    public required byte[] HostConfigAfterDestroy { get; init; }
}
