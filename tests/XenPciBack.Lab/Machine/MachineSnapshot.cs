namespace XenPciBack.Lab.Machine;

/// <summary>A moment of a <see cref="XenMachine"/>, to which it can be set again.</summary>
public sealed class MachineSnapshot
{
    internal MachineSnapshot(string name, DomainZeroState domainZero, string registers) =>
        (Name, DomainZero, Registers) = (name, domainZero, registers);

    /// <summary>QEMU's name of it.</summary>
    public string Name { get; }

    internal DomainZeroState DomainZero { get; }

    /// <summary>A script that gives devices without a state of their own their registers again.</summary>
    internal string Registers { get; }
}

/// <summary>What this side of the line knows of dom0 at some moment.</summary>
/// <param name="DaemonRuns">Whether the daemon serves.</param>
/// <param name="Guests">The guests that have a console, by its port.</param>
internal sealed record DomainZeroState(bool DaemonRuns, IReadOnlyDictionary<string, Guest> Guests);
