using System.Collections.Immutable;
using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>What the rules let through of a write.</summary>
public enum ConfigWriteFate
{
    /// <summary>It reached the device as it was, or changed nothing.</summary>
    Allowed,

    /// <summary>A part of it, or something else in its place.</summary>
    Filtered,

    /// <summary>Nothing.</summary>
    Dropped,
}

/// <summary>The outcome of a config write.</summary>
/// <param name="Dropped">
/// No rule covers the register, so the write went nowhere, with success as far as the guest knows.
/// </param>
public readonly record struct ConfigWriteResult(PciOpError Error, bool Dropped)
{
    /// <summary>Of the whole write, if it was answered with success.</summary>
    public ConfigWriteFate Fate { get; init; }
}

/// <summary>
/// The config space of one function as a guest may see and change it. Reads come from the device, overlaid by the
/// rules; writes reach the device only by the decision of a rule (or anywhere, in permissive mode). The rules, which are
/// those of Linux drivers/xen/xen-pciback, decide; all that is done to the device is done here.
/// </summary>
public sealed class VirtualConfigSpace
{
    /// <summary>Bytes of config space a guest can address.</summary>
    public const int Size = 4096;

    private readonly IPciFunction _device;
    private readonly ConfigPolicy _policy;
    private readonly ConfigRules _rules;
    private readonly DeviceRecord _record;
    private readonly SavedConfig _saved;

    // The device, or the device with a log in front of it.
    private IPciFunction _function;

    /// <param name="function">Its header type must be 0 or 1.</param>
    /// <param name="record">A complete one is that of the guest which has the function already.</param>
    /// <exception cref="NotSupportedException">Another header type (CardBus).</exception>
    public VirtualConfigSpace(IPciFunction function, ConfigPolicy policy, DeviceRecord record)
    {
        (_device, _function, _policy, _record) = (function, function, policy, record);
        _saved = new SavedConfig(function, policy, record);
        if (policy.ReportErrors) ErrorReporting.Enable(function);
        _rules = new ConfigRules(function, policy);
        Perform(_rules.Begin());
        if (!record.IsComplete) record.Shadow = FirstShadow();
        record.Finish();
    }

    /// <summary>Quirks without effect, because a rule or another quirk starts at the same register.</summary>
    public ImmutableArray<ConfigQuirk> IgnoredQuirks => _rules.IgnoredQuirks;

    /// <param name="trace">Gets what the guest was shown by each rule.</param>
    public PciOpError Read(int offset, int size, out uint value, ICollection<FieldOutcome>? trace = null)
    {
        value = 0;
        if (!IsValid(offset, size)) return PciOpError.InvalidOffset;
        var error = _function.Read(offset, size, out var device);
        value = device;
        var deviceError = error;
        foreach (var rule in _rules.All)
        {
            if (!rule.Overlaps(offset, size)) continue;
            var isWithin = rule.Offset >= offset && rule.Offset + rule.Size <= offset + size;
            uint? own = isWithin && deviceError == PciOpError.Success
                ? device >> (8 * (rule.Offset - offset)) & Mask(rule.Size) : null;
            error = !rule.IsReachable ? PciOpError.InvalidOffset
                : own is not null ? PciOpError.Success : ReadSource(rule, ref own);
            var shown = error == PciOpError.Success ? Show(rule, own) : 0;
            trace?.Add(FieldOutcome.OfRead(rule, error, shown, own));
            if (error != PciOpError.Success) break;
            value = Merge(value, shown, Mask(rule.Size), rule.Offset - offset);
        }
        // Bits of a register that reach beyond the access are the neighbours' business.
        value &= Mask(size);
        return error;
    }

    /// <param name="trace">Gets what each rule has decided.</param>
    public ConfigWriteResult Write(int offset, int size, uint value, ICollection<FieldOutcome>? trace = null)
    {
        if (!IsValid(offset, size)) return new(PciOpError.InvalidOffset, Dropped: false);
        var error = PciOpError.Success;
        var handled = false;
        var fate = ConfigWriteFate.Allowed;
        foreach (var rule in _rules.All)
        {
            if (!rule.Overlaps(offset, size)) continue;
            uint? device = null;
            error = rule.IsReachable ? ReadSource(rule, ref device) : PciOpError.InvalidOffset;
            if (error != PciOpError.Success) return new(error, Dropped: false);
            // A refusal does not stop the rules after it; the last one decides what the guest is told.
            var shown = Show(rule, device);
            var asked = Merge(shown, value, Mask(size), offset - rule.Offset) & Mask(rule.Size);
            var decision = Decide(rule, new ConfigRule.Write(asked, shown, device ?? 0, _record.Shadow));
            error = Perform(decision.Steps, rule, ref device);
            if (error == PciOpError.Success) error = decision.Error;
            trace?.Add(FieldOutcome.OfWrite(rule, error, decision.Fate, shown, asked, Show(rule, device), device));
            var ruleFate = asked == shown ? ConfigWriteFate.Allowed : decision.Fate;
            fate = !handled || fate == ruleFate ? ruleFate : ConfigWriteFate.Filtered;
            handled = true;
        }
        if (handled) return new(error, Dropped: false) { Fate = fate };
        return WriteUnknown(offset, size, value & Mask(size), trace);
    }

    /// <summary>Writes every access to the device to a log from now on; null: to none.</summary>
    public void LogTo(DeviceAccessLog? log) => _function = log?.Watch(_device) ?? _device;

    /// <summary>Every register with a rule beyond the device's own, as the guest reads it, in no order.</summary>
    /// <param name="device">The device's config space.</param>
    public ImmutableArray<FieldOutcome> ShowRuled(ReadOnlySpan<byte> device)
    {
        var outcomes = ImmutableArray.CreateBuilder<FieldOutcome>();
        foreach (var rule in _rules.All)
        {
            if (rule is OpenRule || rule.Offset + rule.Size > device.Length) continue;
            var own = 0u;
            for (var i = 0; i < rule.Size; i++) own |= (uint)device[rule.Offset + i] << (8 * i);
            outcomes.Add(FieldOutcome.OfRead(rule, PciOpError.Success, Show(rule, own), own));
        }
        return outcomes.ToImmutable();
    }

    /// <summary>
    /// The guest is gone: full power, no message interrupts, reset where the host knows a way, the registers that the
    /// guest could reach as they were when the function was opened, no bus mastering, no BAR left showing its size.
    /// </summary>
    /// <returns>null if the function was reset, else why not.</returns>
    public string? Release()
    {
        // A reset and a restore have to find a function that listens.
        WakeUp();
        Perform(_rules.SwitchMessagesOff());
        var notReset = _function.TryReset();
        _saved.Restore();
        _record.Shadow = _record.Shadow with { BarsShowingSize = 0 };
        Perform(_rules.Command.Release(_record.Shadow));
        return notReset;
    }

    /// <summary>The function has lost the host's registers.</summary>
    public bool IsReset => _saved.IsLost;

    /// <summary>
    /// The function has met an error while its guest uses it, and a reset takes or has taken its registers: they come
    /// back as the host and the guest had set them up. Message interrupts are
    /// <see cref="Interrupts.MessageInterrupts.Recover"/>'s.
    /// </summary>
    /// <param name="reset">Reset it first; false: that has happened.</param>
    /// <returns>null, or why the function is not as it was.</returns>
    public string? Recover(bool reset)
    {
        if (reset && _function.TryReset() is { } notReset) return notReset;
        if (_function.Read(Register.Status, 2, out var status) != PciOpError.Success || status == 0xFFFF)
            return "it does not answer";
        WakeUp();
        _saved.Restore();
        if (_policy.ReportErrors) ErrorReporting.Enable(_function);
        Perform(_rules.Command.Recover(_record.Shadow, ReadNeeded(_rules.Command.NeedsToRecover(_record.Shadow))));
        return null;
    }

    // ---- Decisions --------------------------------------------------------------------------------------------------

    private WriteDecision Decide(ConfigRule rule, in ConfigRule.Write write) =>
        rule.Decide(write, ReadNeeded(rule.Needs(write)));

    private uint?[] ReadNeeded(ReadOnlySpan<(int Offset, int Size)> needs)
    {
        var needed = needs.IsEmpty ? [] : new uint?[needs.Length];
        for (var i = 0; i < needs.Length; i++)
        {
            var (offset, size) = needs[i];
            if (size > 0 && _function.Read(offset, size, out var value) == PciOpError.Success) needed[i] = value;
        }
        return needed;
    }

    /// <summary>What a rule shows is made of it.</summary>
    private PciOpError ReadSource(ConfigRule rule, ref uint? device)
    {
        if (rule.Source != RegisterSource.Device) return PciOpError.Success;
        var error = _function.Read(rule.Offset, rule.Size, out var value);
        if (error == PciOpError.Success) device = value;
        return error;
    }

    private uint Show(ConfigRule rule, uint? device) => rule.Source switch
    {
        RegisterSource.HostIrq => rule.Show((uint)_function.Irq & 0xFF, _record.Shadow),
        RegisterSource.Rule => rule.Show(0, _record.Shadow),
        _ => rule.Show(device ?? 0, _record.Shadow),
    };

    // ---- Steps ------------------------------------------------------------------------------------------------------

    private void Perform(ImmutableArray<ConfigStep> steps)
    {
        uint? nobodyAsks = null;
        Perform(steps, rule: null, ref nobodyAsks);
    }

    /// <param name="rule">Whose steps they are.</param>
    /// <param name="device">What its register has in the device, as far as the steps have found out.</param>
    private PciOpError Perform(ImmutableArray<ConfigStep> steps, ConfigRule? rule, ref uint? device)
    {
        foreach (var step in steps)
        {
            var error = Perform(step, rule, ref device);
            if (error == PciOpError.Success || step.Failure == StepFailure.Ignored) continue;
            return step.Failure == StepFailure.EndsWriteDenied ? PciOpError.AccessDenied : error;
        }
        return PciOpError.Success;
    }

    private PciOpError Perform(ConfigStep step, ConfigRule? rule, ref uint? device)
    {
        switch (step)
        {
            case ConfigStep.Write(var offset, var size, var value):
                var error = _function.Write(offset, size, value);
                if (error == PciOpError.Success && offset == rule?.Offset) device = value;
                return error;
            case ConfigStep.Update(var offset, var size, var mask, var bits):
                error = _function.Read(offset, size, out var before);
                if (error != PciOpError.Success) return error;
                var after = (before & ~mask) | (bits & mask);
                if (after != before) error = _function.Write(offset, size, after);
                if (error == PciOpError.Success && offset == rule?.Offset) device = after;
                return error;
            case ConfigStep.Remember(var shadow):
                _record.Shadow = shadow;
                return PciOpError.Success;
            case ConfigStep.Branch branch:
                var isRead = _function.Read(branch.Offset, branch.Size, out var now) == PciOpError.Success;
                return Perform(isRead && now == branch.Expected ? branch.Same : branch.Other, rule, ref device);
            default:
                throw new InvalidOperationException($"step {step} is unknown");
        }
    }

    private void WakeUp()
    {
        var power = _rules.Power;
        if (power.Offset == 0 || _function.Read(power.ControlOffset, 2, out var control) != PciOpError.Success) return;
        Perform(power.Change(control, PowerManagement.D0) ?? []);
    }

    // The command register is the guest's own from the start; bus mastering is on only if a daemon that kept no record
    // has served the guest that has the function now.
    private Shadow FirstShadow()
    {
        _function.Read(Register.Command, 2, out var command);
        var isBusMaster = (command & CommandBits.Master) != 0;
        return new Shadow((ushort)command, IsDecoding: false, isBusMaster, BarsShowingSize: 0);
    }

    // No rule covers any of it.
    private ConfigWriteResult WriteUnknown(int offset, int size, uint value, ICollection<FieldOutcome>? trace)
    {
        uint? before = null;
        if (trace is not null && _function.Read(offset, size, out var read) == PciOpError.Success) before = read;
        var error = _policy.Permissive ? _function.Write(offset, size, value) : PciOpError.Success;
        var fate = _policy.Permissive ? ConfigWriteFate.Allowed : ConfigWriteFate.Dropped;
        var after = _policy.Permissive ? value : before;
        var rule = new ConfigRule(offset, size);
        trace?.Add(FieldOutcome.OfWrite(rule, error, fate, before ?? 0, value, after ?? 0, after) with
        {
            Rule = _policy.Permissive ? "permissive: no rule, the device's own" : "no rule knows it",
        });
        return new(error, Dropped: !_policy.Permissive) { Fate = fate };
    }

    private static bool IsValid(int offset, int size) =>
        size is 1 or 2 or 4 && offset >= 0 && offset <= Size - size && offset % size == 0;

    private static uint Mask(int size) => size switch { 1 => 0xFF, 2 => 0xFFFF, _ => uint.MaxValue };

    /// <summary>Lays bits over a value, some bytes further up (or down).</summary>
    private static uint Merge(uint value, uint bits, uint mask, int byteShift)
    {
        var shift = Math.Abs(byteShift) * 8;
        (bits, mask) = byteShift >= 0 ? (bits << shift, mask << shift) : (bits >> shift, mask >> shift);
        return (value & ~mask) | (bits & mask);
    }
}
