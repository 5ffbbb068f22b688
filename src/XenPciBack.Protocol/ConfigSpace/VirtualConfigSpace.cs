using System.Collections.Immutable;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>What the rules let through of a write. They alone decide it: that the device is not asked costs nothing, and says nothing of single bits.</summary>
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
/// <param name="Dropped">No rule covers the register, so the write went nowhere, with success as far as the guest knows.</param>
public readonly record struct ConfigWriteResult(PciOpError Error, bool Dropped)
{
    /// <summary>Of the whole write, if it was answered with success.</summary>
    public ConfigWriteFate Fate { get; init; }
}

/// <summary>
/// The config space of one function as a guest may see and change it. Reads come from the hardware, overlaid by the fields;
/// writes reach the hardware only through a field (or anywhere, in permissive mode). The rules are those of Linux
/// drivers/xen/xen-pciback in its current form.
/// </summary>
public sealed class VirtualConfigSpace
{
    /// <summary>Bytes of config space a guest can address.</summary>
    public const int Size = 4096;

    private readonly IPciFunction _function;
    private readonly ConfigPolicy _policy;
    private readonly PowerState _power;
    private readonly List<ConfigField> _fields = [];
    private readonly DeviceRecord _record;
    private readonly SavedConfig _saved;

    /// <param name="function">Its header type must be 0 or 1.</param>
    /// <param name="record">A complete one is that of the guest which has the function already.</param>
    /// <exception cref="NotSupportedException">Another header type (CardBus).</exception>
    public VirtualConfigSpace(IPciFunction function, ConfigPolicy policy, DeviceRecord record)
    {
        (_function, _policy, _power, _record) = (function, policy, new PowerState(function), record);
        _saved = new SavedConfig(function, policy, record);
        if (policy.ReportErrors) ErrorReporting.Enable(function);
        AddHeader();
        AddBars();
        AddCapabilities();
        IgnoredQuirks = [.. policy.Quirks.Where(quirk => !Add(new QuirkField(function, quirk)))];
        record.Finish();
    }

    /// <summary>Quirks without effect, because a rule or another quirk starts at the same register.</summary>
    public ImmutableArray<ConfigQuirk> IgnoredQuirks { get; }

    /// <param name="trace">Gets what became of each field, at the price of some more reads of the device.</param>
    public PciOpError Read(int offset, int size, out uint value, ICollection<FieldOutcome>? trace = null)
    {
        value = 0;
        if (!IsValid(offset, size)) return PciOpError.InvalidOffset;
        var error = _function.Read(offset, size, out value);
        foreach (var field in _fields)
        {
            if (!field.Overlaps(offset, size)) continue;
            error = field.Read(out var fieldValue);
            trace?.Add(FieldOutcome.OfRead(field, error, fieldValue, _function));
            if (error != PciOpError.Success) break;
            value = Merge(value, fieldValue, Mask(field.Size), field.Offset - offset);
        }
        // Bits of a field that reach beyond the access are the neighbours' business.
        value &= Mask(size);
        return error;
    }

    /// <param name="trace">Gets what became of each field, at the price of some more reads of the device.</param>
    public ConfigWriteResult Write(int offset, int size, uint value, ICollection<FieldOutcome>? trace = null)
    {
        if (!IsValid(offset, size)) return new(PciOpError.InvalidOffset, Dropped: false);
        var error = PciOpError.Success;
        var handled = false;
        var fate = ConfigWriteFate.Allowed;
        foreach (var field in _fields)
        {
            if (!field.Overlaps(offset, size)) continue;
            error = field.Read(out var fieldValue);
            if (error != PciOpError.Success) return new(error, Dropped: false);
            // A refusal does not stop the fields after it; the last one decides what the guest is told.
            var asked = Merge(fieldValue, value, Mask(size), offset - field.Offset) & Mask(field.Size);
            error = field.Write(asked);
            trace?.Add(FieldOutcome.OfWrite(field, error, fieldValue, asked, _function));
            var fieldFate = asked == fieldValue ? ConfigWriteFate.Allowed : field.Fate;
            fate = !handled || fate == fieldFate ? fieldFate : ConfigWriteFate.Filtered;
            handled = true;
        }
        if (handled) return new(error, Dropped: false) { Fate = fate };
        return WriteUnknown(new ConfigField(_function, offset, size), value & Mask(size), trace);
    }

    /// <summary>Every register with a rule beyond the device's own, as the guest reads it and as the device has it, in no order.</summary>
    public ImmutableArray<FieldOutcome> ReadRuled()
    {
        var outcomes = ImmutableArray.CreateBuilder<FieldOutcome>();
        foreach (var field in _fields)
            if (field is not RawField)
                outcomes.Add(FieldOutcome.OfRead(field, field.Read(out var value), value, _function));
        return outcomes.ToImmutable();
    }

    /// <summary>
    /// The guest has let go: full power, no message interrupts, reset where the host knows a way, the registers that the guest
    /// could reach as they were when the function was opened, no bus mastering, no BAR left showing its size.
    /// </summary>
    /// <returns>null if the function was reset, else why not.</returns>
    public string? Release()
    {
        // A reset and a restore have to find a function that listens.
        _power.Set(PowerState.D0);
        foreach (var interrupts in _fields.OfType<MessageControlField>()) interrupts.Release();
        var notReset = _function.TryReset();
        _saved.Restore();
        foreach (var bar in _fields.OfType<BarField>()) bar.Release();
        foreach (var command in _fields.OfType<CommandField>()) command.Release();
        return notReset;
    }

    /// <summary>The function has lost the host's registers.</summary>
    public bool IsReset => _saved.IsLost;

    /// <summary>
    /// The function has met an error while its guest uses it, and a reset takes or has taken its registers: they come back as the host
    /// and the guest had set them up. Message interrupts are <see cref="Interrupts.MessageInterrupts.Recover"/>'s.
    /// </summary>
    /// <param name="reset">Reset it first; false: that has happened.</param>
    /// <returns>null, or why the function is not as it was.</returns>
    public string? Recover(bool reset)
    {
        if (reset && _function.TryReset() is { } notReset) return notReset;
        if (_function.Read(Register.Status, 2, out var status) != PciOpError.Success || status == 0xFFFF) return "it does not answer";
        _power.Set(PowerState.D0);
        _saved.Restore();
        if (_policy.ReportErrors) ErrorReporting.Enable(_function);
        foreach (var command in _fields.OfType<CommandField>()) command.Recover();
        return null;
    }

    // No rule covers any of it.
    private ConfigWriteResult WriteUnknown(ConfigField register, uint value, ICollection<FieldOutcome>? trace)
    {
        uint before = 0;
        if (trace is not null) register.Read(out before);
        var error = _policy.Permissive ? _function.Write(register.Offset, register.Size, value) : PciOpError.Success;
        trace?.Add(FieldOutcome.OfWrite(register, error, before, value, _function) with { Rule = _policy.Permissive ? "permissive: no rule, the device's own" : "no rule knows it" });
        return new(error, Dropped: !_policy.Permissive) { Fate = _policy.Permissive ? ConfigWriteFate.Allowed : ConfigWriteFate.Dropped };
    }

    private void AddHeader()
    {
        Add(new HostValueField(_function, Register.VendorId, 2, () => _function.VendorId));
        Add(new HostValueField(_function, Register.DeviceId, 2, () => _function.DeviceId));
        Add(new CommandField(_function, _policy, _power, _record));
        Add(new HostValueField(_function, Register.InterruptLine, 1, () => (uint)_function.Irq & 0xFF));
        Add(new ConfigField(_function, Register.InterruptPin, 1));
        Add(new RawField(_function, Register.CacheLineSize, 1));
        Add(new ConfigField(_function, Register.LatencyTimer, 1));
        Add(new BistField(_function));
    }

    private void AddBars()
    {
        _function.Read(Register.HeaderType, 1, out var headerType);
        var (bars, rom) = (headerType & 0x7F) switch
        {
            0 => (6, Register.Rom),
            1 => (2, Register.RomOfBridge),
            var other => throw new NotSupportedException($"{_function.Bdf}: header type {other} cannot be given to a guest; expected 0 (device) or 1 (bridge)"),
        };
        for (var i = 0; i < bars; i++) Add(new BarField(_function, Register.Bar0 + 4 * i, i, _record));
        Add(new BarField(_function, rom, BarField.RomResource, _record));
    }

    private void AddCapabilities()
    {
        AddCapability(CapabilityId.VitalProductData, at =>
        [
            new VpdAddressField(_function, at + 2),
            new ConfigField(_function, at + 4, 4),
        ]);
        AddCapability(CapabilityId.PowerManagement, at =>
        [
            new PowerCapabilitiesField(_function, at + 2),
            new PowerControlField(_function, at, _power),
            new ConfigField(_function, at + 6, 1),
            new ConfigField(_function, at + 7, 1),
        ]);
        AddCapability(CapabilityId.Msi, at => [new MessageControlField(_function, _policy, at, CapabilityId.Msi)]);
        AddCapability(CapabilityId.Msix, at => [new MessageControlField(_function, _policy, at, CapabilityId.Msix)]);
    }

    private void AddCapability(uint id, Func<int, ConfigField[]> fields)
    {
        var at = CapabilityList.Find(_function, id);
        if (at == 0) return;
        Add(new ConfigField(_function, at, 2));
        foreach (var field in fields(at)) Add(field);
    }

    private bool Add(ConfigField field)
    {
        if (_fields.Exists(f => f.Offset == field.Offset)) return false;
        _fields.Add(field);
        return true;
    }

    private static bool IsValid(int offset, int size) =>
        size is 1 or 2 or 4 && offset >= 0 && offset <= Size - size && offset % size == 0;

    private static uint Mask(int size) => size switch { 1 => 0xFF, 2 => 0xFFFF, _ => uint.MaxValue };

    /// <summary>Lays <paramref name="bits"/> over <paramref name="value"/>, <paramref name="byteShift"/> bytes further up (or down).</summary>
    private static uint Merge(uint value, uint bits, uint mask, int byteShift)
    {
        var shift = Math.Abs(byteShift) * 8;
        (bits, mask) = byteShift >= 0 ? (bits << shift, mask << shift) : (bits >> shift, mask >> shift);
        return (value & ~mask) | (bits & mask);
    }
}
