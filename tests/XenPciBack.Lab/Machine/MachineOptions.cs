namespace XenPciBack.Lab.Machine;

/// <summary>Which of Debian's two xenstore servers dom0 runs.</summary>
public enum XenStored
{
    /// <summary>xenstored, written in C; the default of Debian's Xen.</summary>
    C,

    /// <summary>oxenstored, written in OCaml.</summary>
    OCaml,
}

/// <summary>What a machine can have besides its release and its devices.</summary>
public sealed record MachineOptions
{
    public XenStored XenStored { get; init; } = XenStored.C;

    /// <summary>Folders of this machine that dom0 sees, read-only: directory in dom0 to folder here.</summary>
    public IReadOnlyDictionary<string, string> Mounts { get; init; } = new Dictionary<string, string>();

    /// <summary>The size, "ROWS COLUMNS", of a terminal for a person in dom0 (<see cref="XenMachine.OpenTerminalAsync"/>); null for none.</summary>
    public string? Terminal { get; init; }

    /// <summary>Where steps that take long are announced.</summary>
    public TextWriter Progress { get; init; } = TextWriter.Null;
}
