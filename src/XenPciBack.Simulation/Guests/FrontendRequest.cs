using System.Collections.Immutable;

namespace XenPciBack.Simulation.Guests;

/// <summary>A request as the guest writes it into its page: raw numbers, so that a hostile guest can say anything.</summary>
/// <param name="Command">0 conf_read, 1 conf_write, 2 enable_msi, 3 disable_msi, 4 enable_msix, 5 disable_msix.</param>
/// <param name="Offset">Config register, bytes.</param>
/// <param name="Size">Access width, bytes.</param>
/// <param name="Value">What to write; for enable_msix the number of vectors.</param>
public sealed record FrontendRequest(uint Command, uint Domain, uint Bus, uint DevFn, int Offset = 0, int Size = 0, uint Value = 0)
{
    /// <summary>Table indices of enable_msix, at most 128.</summary>
    public ImmutableArray<ushort> MsixEntries { get; init; } = [];
}

/// <summary>What came back.</summary>
/// <param name="Error">0, a XEN_PCI_ERR value -1..-5, or a negated errno.</param>
/// <param name="Vectors">The vector fields of as many MSI-X entries as were asked for.</param>
/// <param name="TimedOut">Nothing came back in time; <paramref name="Error"/> is -1, as Linux then reports.</param>
public readonly record struct FrontendAnswer(int Error, uint Value, ImmutableArray<ushort> Vectors, bool TimedOut = false);
