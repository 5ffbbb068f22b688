using System.Collections.Immutable;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>What becomes of a guest's write: the steps to perform in their order, and what the guest is told.</summary>
/// <param name="Fate">What the rule lets through, where the guest is told of success.</param>
/// <param name="Error">What the guest is told when every step has succeeded.</param>
internal sealed record WriteDecision(
    ImmutableArray<ConfigStep> Steps, ConfigWriteFate Fate, PciOpError Error = PciOpError.Success)
{
    /// <summary>Nothing is done, and the guest is told of success.</summary>
    public static readonly WriteDecision Dropped = new([], ConfigWriteFate.Dropped);

    public static readonly WriteDecision Denied = Refused(PciOpError.AccessDenied);

    /// <summary>Nothing is left to do: the register has the value already.</summary>
    public static readonly WriteDecision Unchanged = new([], ConfigWriteFate.Allowed);

    public static WriteDecision Refused(PciOpError error) => new([], ConfigWriteFate.Dropped, error);

    /// <summary>The value reaches the device as it is.</summary>
    public static WriteDecision Through(ConfigRule rule, uint value) =>
        new([new ConfigStep.Write(rule.Offset, rule.Size, value)], ConfigWriteFate.Allowed);
}

/// <summary>What a step's failure means for the write.</summary>
internal enum StepFailure
{
    /// <summary>The write ends, and the guest is told the error.</summary>
    EndsWrite,

    /// <summary>The write ends, and the guest is told that it may not do that.</summary>
    EndsWriteDenied,

    /// <summary>The next step follows.</summary>
    Ignored,
}

/// <summary>One thing that a decision has done to the device or to the shadow.</summary>
internal abstract record ConfigStep
{
    public StepFailure Failure { get; init; }

    /// <summary>Writes a register.</summary>
    public sealed record Write(int Offset, int Size, uint Value) : ConfigStep;

    /// <summary>Reads a register and writes it if the bits of the mask are not as they should be.</summary>
    public sealed record Update(int Offset, int Size, uint Mask, uint Bits) : ConfigStep;

    /// <summary>Stores what the guest is shown from now on.</summary>
    public sealed record Remember(Shadow Shadow) : ConfigStep;

    /// <summary>Reads a register, and goes on with one of two lists.</summary>
    public sealed record Branch(
        int Offset, int Size, uint Expected, ImmutableArray<ConfigStep> Same, ImmutableArray<ConfigStep> Other)
        : ConfigStep;
}
