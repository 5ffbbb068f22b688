using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Guests;

/// <summary>How a frontend behaves. The defaults are Linux's pcifront; the rest are the ways of going wrong.</summary>
public sealed record FrontendOptions
{
    /// <summary>The <c>magic</c> node; null publishes none.</summary>
    public string? Magic { get; init; } = "7";

    /// <summary>Published as <c>pci-op-ref</c> instead of the page's own reference.</summary>
    public GrantReference? PublishedGrant { get; init; }

    /// <summary>Published as <c>event-channel</c> instead of its own port.</summary>
    public RemotePort? PublishedPort { get; init; }

    /// <summary>Never looks at its device: a guest without a driver.</summary>
    public bool IsSilent { get; init; }

    /// <summary>Writes Connected (4) where Initialised (3) belongs, before the backend has mapped anything.</summary>
    public bool ConnectsEarly { get; init; }

    /// <summary>Writes Initialised inside the transaction that publishes page and port, as Mini-OS does.</summary>
    public bool SwitchesStateInTransaction { get; init; }

    /// <summary>Looks at every address of its buses when it connects; without that its requests are its owner's alone.</summary>
    public bool LooksForDevices { get; init; } = true;

    /// <summary>Sets the flag that says it can process AER requests.</summary>
    public bool TakesAer { get; init; } = true;

    /// <summary>
    /// What the guest's driver answers: 1 none, 2 can recover, 3 needs reset, 4 disconnect, 5 recovered, and anything a guest can write.
    /// null: it never answers again. The default is a driver without error handlers.
    /// </summary>
    public Func<ErrorQuestion, ValueTask<int?>> Driver { get; init; } = _ => ValueTask.FromResult<int?>(1);

    /// <summary>A request not answered by then is given up: 2 s in Linux.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>The longest single wait for an event while a request is out: 3 s in Linux. The clock is looked at after it.</summary>
    public TimeSpan PollTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>By which it waits; null: the host's.</summary>
    public TimeProvider? Clock { get; init; }
}
