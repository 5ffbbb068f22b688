using System.Collections.Immutable;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>What the command register's rule goes by that does not change while the function is open.</summary>
/// <param name="Resources">The host's resource table.</param>
/// <param name="CacheLineSize">The host's, in units of 4 bytes; 0: not known.</param>
/// <param name="HasLine">The function has an INTx line.</param>
/// <param name="IsExpress">It is on PCI Express, where no bus master waits for its turn.</param>
/// <param name="Msi">Offset of the MSI capability; 0: there is none.</param>
/// <param name="Msix">Offset of the MSI-X capability; 0: there is none.</param>
internal sealed record CommandFacts(
    ImmutableArray<PciResource> Resources, byte CacheLineSize, bool HasLine, bool IsExpress, PowerManagement Power,
    int Msi, int Msix);

/// <summary>
/// The command register. A guest can turn decoding on but never off in the device (XSA-120: a device that stops
/// decoding can bring the host down), and parity, SERR and INTx-disable are only a shadow to it. What has been done is
/// stored after it has been done: a write that was cut short by the daemon's end is done once more by the next one.
/// </summary>
internal sealed class CommandRule(ConfigPolicy policy, CommandFacts facts) : ConfigRule(Register.Command, 2)
{
    private const uint MinimumLatency = 16, DefaultLatency = 64;

    private static readonly (int Offset, int Size) NotNeeded = (-1, 0);

    public override string Text =>
        "decoding goes on and never off, bus mastering and MWI are the guest's, the rest is kept for the guest alone";

    public override uint Show(uint value, in Shadow shadow) =>
        (value & CommandBits.FromHardware) | (shadow.Command & ~CommandBits.FromHardware);

    public override ReadOnlySpan<(int Offset, int Size)> Needs(in Write write) =>
        Needs(write.Shadow, IsDecoding(write.Asked), IsMaster(write.Asked), HasInvalidate(write.Asked));

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed)
    {
        var (shadow, asked) = (write.Shadow, write.Asked);
        var steps = ImmutableArray.CreateBuilder<ConfigStep>();
        if (IsDecoding(asked) != shadow.IsDecoding)
        {
            if (!IsDecoding(asked))
            {
                steps.Add(new ConfigStep.Update(Offset, Size, CommandBits.Master, 0));
                shadow = shadow with { IsDecoding = false, IsBusMaster = false };
            }
            else
            {
                AddWakeUp(steps, needed);
                if (DecodedBits() is not { } bits)
                    return new(steps.ToImmutable(), ConfigWriteFate.Dropped, (PciOpError)(-Errnos.EINVAL));
                AddDecoding(steps, bits, needed);
                shadow = shadow with { IsDecoding = true };
            }
            steps.Add(new ConfigStep.Remember(shadow));
        }
        if (IsMaster(asked) != shadow.IsBusMaster)
        {
            AddMastering(steps, IsMaster(asked), needed);
            shadow = shadow with { IsBusMaster = IsMaster(asked) };
            steps.Add(new ConfigStep.Remember(shadow));
        }
        var isInvalidateChanged = HasInvalidate(asked) != HasInvalidate(shadow.Command);
        AddInvalidate(steps, isInvalidateChanged, asked, needed, kept => Rest(kept, shadow));
        return new WriteDecision(steps.ToImmutable(), ConfigWriteFate.Filtered);
    }

    /// <summary>The register is to be kept silent on its line, whatever its guest asks for.</summary>
    public ImmutableArray<ConfigStep> Begin() =>
        policy.KeepLineSilent ? [Ignoring(CommandBits.IntxDisable, CommandBits.IntxDisable)] : [];

    /// <summary>The guest is gone: bus mastering ends, decoding stays as the host had it.</summary>
    public ImmutableArray<ConfigStep> Release(in Shadow shadow) =>
    [
        Ignoring(CommandBits.Master, 0),
        new ConfigStep.Remember(shadow with { IsDecoding = false, IsBusMaster = false }),
    ];

    /// <summary>What <see cref="Recover"/> has to know.</summary>
    public ReadOnlySpan<(int Offset, int Size)> NeedsToRecover(in Shadow shadow) =>
        Needs(new Shadow(), shadow.IsDecoding, shadow.IsBusMaster, HasInvalidate(shadow.Command));

    /// <summary>The device has lost the register in a reset while its guest uses it: as the guest had it.</summary>
    public ImmutableArray<ConfigStep> Recover(in Shadow shadow, ReadOnlySpan<uint?> needed)
    {
        var steps = ImmutableArray.CreateBuilder<ConfigStep>();
        steps.AddRange(Begin());
        if (shadow.IsDecoding)
        {
            AddWakeUp(steps, needed);
            if (DecodedBits() is { } bits) AddDecoding(steps, bits, needed);
        }
        if (shadow.IsBusMaster) AddMastering(steps, isOn: true, needed);
        AddInvalidate(steps, HasInvalidate(shadow.Command), shadow.Command, needed, _ => []);
        return [.. steps.Select(step => step with { Failure = StepFailure.Ignored })];
    }

    // ---- What is needed, in the order of these numbers --------------------------------------------------------------

    private const int PowerControl = 0, MsiControl = 1, MsixControl = 2, Latency = 3, CacheLine = 4;

    private (int Offset, int Size)[] Needs(in Shadow shadow, bool isDecoding, bool isMaster, bool hasInvalidate)
    {
        var needs = new (int Offset, int Size)[] { NotNeeded, NotNeeded, NotNeeded, NotNeeded, NotNeeded };
        if (isDecoding && !shadow.IsDecoding)
        {
            if (facts.Power.Offset != 0) needs[PowerControl] = (facts.Power.ControlOffset, 2);
            if (facts.Msi != 0) needs[MsiControl] = MessageControlRule.ControlOf(facts.Msi);
            if (facts.Msix != 0) needs[MsixControl] = MessageControlRule.ControlOf(facts.Msix);
        }
        if (isMaster && !facts.IsExpress) needs[Latency] = (Register.LatencyTimer, 1);
        if (hasInvalidate && !HasInvalidate(shadow.Command)) needs[CacheLine] = (Register.CacheLineSize, 1);
        return needs;
    }

    // ---- The parts of a decision ------------------------------------------------------------------------------------

    // A function that sleeps would decode nothing; one that does not wake up is decoded all the same, as in the kernel.
    private void AddWakeUp(ImmutableArray<ConfigStep>.Builder steps, ReadOnlySpan<uint?> needed)
    {
        if (needed[PowerControl] is not { } control) return;
        foreach (var step in facts.Power.Change(control, PowerManagement.D0) ?? [])
            steps.Add(step with { Failure = StepFailure.Ignored });
    }

    /// <summary>
    /// The host decides what to decode from the resources the function has, whichever bit the guest asked for.
    /// </summary>
    /// <returns>null: the host has found no address for one of them.</returns>
    private uint? DecodedBits()
    {
        var bits = 0u;
        for (var i = 0; i < facts.Resources.Length; i++)
        {
            var resource = facts.Resources[i];
            // The ROM shares a decoder with the BARs and is decoded only where the host has enabled it.
            if (i == BarRule.RomResource && (resource.Flags & 1) == 0) continue;
            if (resource.IsUnassigned) return null;
            bits |= resource.IsIo ? CommandBits.Io : resource.IsMemory ? CommandBits.Memory : 0;
        }
        return bits;
    }

    private void AddDecoding(ImmutableArray<ConfigStep>.Builder steps, uint bits, ReadOnlySpan<uint?> needed)
    {
        steps.Add(new ConfigStep.Update(Offset, Size, bits, bits));
        // With a message enabled the device must not pull its line as well.
        var areMessagesOn = MessageControlRule.IsAnyOn(needed[MsiControl], needed[MsixControl]);
        if (!policy.KeepLineSilent && facts.HasLine && !areMessagesOn)
            steps.Add(Ignoring(CommandBits.IntxDisable, 0));
    }

    private void AddMastering(ImmutableArray<ConfigStep>.Builder steps, bool isOn, ReadOnlySpan<uint?> needed)
    {
        steps.Add(Ignoring(CommandBits.Master, isOn ? CommandBits.Master : 0));
        // Conventional PCI only: a bus master needs a share of the bus.
        if (isOn && needed[Latency] is < MinimumLatency)
            steps.Add(new ConfigStep.Write(Register.LatencyTimer, 1, DefaultLatency) { Failure = StepFailure.Ignored });
    }

    /// <summary>
    /// A device may only invalidate whole lines of the host's cache, so the cache line size must be a multiple of the
    /// line; a device that does not take it keeps memory-write-and-invalidate off, and the guest reads so.
    /// </summary>
    /// <param name="rest">What follows, given the value that is kept.</param>
    private void AddInvalidate(
        ImmutableArray<ConfigStep>.Builder steps, bool isChanged, uint value, ReadOnlySpan<uint?> needed,
        Func<uint, ImmutableArray<ConfigStep>> rest)
    {
        var switched = Ignoring(CommandBits.MemoryWriteInvalidate, value & CommandBits.MemoryWriteInvalidate);
        uint line = facts.CacheLineSize;
        var without = value & ~CommandBits.MemoryWriteInvalidate;
        if (!isChanged)
        {
            steps.AddRange(rest(value));
        }
        else if (!HasInvalidate(value) || (line != 0 && needed[CacheLine] is { } now && now >= line && now % line == 0))
        {
            steps.Add(switched);
            steps.AddRange(rest(value));
        }
        else if (line == 0 || needed[CacheLine] is null)
        {
            steps.AddRange(rest(without));
        }
        else
        {
            steps.Add(new ConfigStep.Write(Register.CacheLineSize, 1, line) { Failure = StepFailure.Ignored });
            steps.Add(new ConfigStep.Branch(
                Register.CacheLineSize, 1, line, Same: [switched, .. rest(value)], Other: rest(without)));
        }
    }

    private ImmutableArray<ConfigStep> Rest(uint value, in Shadow shadow)
    {
        var steps = ImmutableArray.CreateBuilder<ConfigStep>();
        var isLineSwitched = ((value ^ shadow.Command) & CommandBits.IntxDisable) != 0;
        if (isLineSwitched && policy is { AllowInterruptControl: true, KeepLineSilent: false })
            steps.Add(Ignoring(CommandBits.IntxDisable, value));
        steps.Add(new ConfigStep.Remember(shadow with { Command = (ushort)value }));
        if (policy.Permissive) steps.Add(new ConfigStep.Update(Offset, Size, CommandBits.FromHardware, value));
        return steps.ToImmutable();
    }

    private ConfigStep.Update Ignoring(uint mask, uint bits) =>
        new(Offset, Size, mask, bits & mask) { Failure = StepFailure.Ignored };

    private static bool IsDecoding(uint command) => (command & CommandBits.Decoding) != 0;

    private static bool IsMaster(uint command) => (command & CommandBits.Master) != 0;

    private static bool HasInvalidate(uint command) => (command & CommandBits.MemoryWriteInvalidate) != 0;
}
