using XenPciBack.Protocol;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Simulation;

/// <summary>What the toolstack does with a guest that has crashed, as <c>on_crash</c> of xl's configuration.</summary>
public enum OnCrash
{
    Destroy,

    /// <summary>Destroyed, and created again with the same name and devices.</summary>
    Restart,

    /// <summary>Left as it is, for somebody to look at.</summary>
    Preserve,
}

/// <summary>A guest of the simulated host.</summary>
public sealed class SimulatedGuest(DomainId id, string name, SimulatedFrontend frontend)
{
    public DomainId Id { get; } = id;
    public string Name { get; } = name;
    public SimulatedFrontend Frontend { get; } = frontend;

    private int _crashed;
    private volatile bool _isShutDown;

    /// <summary>It has been crashed through the hypervisor: it runs no more.</summary>
    public bool IsCrashed => Volatile.Read(ref _crashed) != 0;

    /// <summary>It runs no more, and its toolstack has not taken it down yet.</summary>
    public bool HasEnded => IsCrashed || _isShutDown;

    internal void ShutDown() => _isShutDown = true;

    /// <returns>false if it had crashed before.</returns>
    internal bool TryCrash() => Interlocked.Exchange(ref _crashed, 1) == 0;
}
