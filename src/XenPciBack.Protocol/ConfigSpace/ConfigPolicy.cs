using System.Collections.Immutable;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>What the administrator has allowed the guests of one function beyond the default.</summary>
/// <param name="Permissive">Writes outside the known fields reach the hardware.</param>
/// <param name="AllowInterruptControl">The guest may flip INTx-disable and the MSI and MSI-X enable bits itself, as the device model in a stub domain does.</param>
public sealed record ConfigPolicy(bool Permissive = false, bool AllowInterruptControl = false)
{
    /// <summary>Registers that the guest may read and write as they are.</summary>
    public ImmutableArray<ConfigQuirk> Quirks { get; init; } = [];

    /// <summary>The guest may use an INTx line that drivers of the host listen on as well.</summary>
    public bool AllowSharedLine { get; init; }

    /// <summary>The function must never pull its INTx line, whatever its guest asks for.</summary>
    public bool KeepLineSilent { get; init; }

    /// <summary>The function is to report its errors to the host, so that somebody can act on them.</summary>
    public bool ReportErrors { get; init; }

    /// <summary>Writes of the guest may reach registers that no rule knows.</summary>
    public bool OpensUnknownRegisters => Permissive || !Quirks.IsEmpty;

    /// <summary>Everything that either of the two allows.</summary>
    public ConfigPolicy Or(ConfigPolicy other) =>
        new(Permissive || other.Permissive, AllowInterruptControl || other.AllowInterruptControl)
        {
            Quirks = Quirks.AddRange(other.Quirks), AllowSharedLine = AllowSharedLine || other.AllowSharedLine, KeepLineSilent = KeepLineSilent || other.KeepLineSilent,
            ReportErrors = ReportErrors || other.ReportErrors,
        };
}
