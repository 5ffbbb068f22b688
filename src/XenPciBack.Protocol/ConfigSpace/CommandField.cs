using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// The command register. A guest can turn decoding on but never off in hardware (XSA-120: a device that stops decoding can
/// bring the host down), and parity, SERR and INTx-disable are only a shadow to it. What has been done is recorded after it has been: a write
/// that was cut short by the daemon's end is done once more by the next one.
/// </summary>
internal sealed class CommandField : ConfigField
{
    private const uint MinimumLatency = 16, DefaultLatency = 64;

    private readonly ConfigPolicy _policy;
    private readonly PowerState _power;
    private readonly DeviceRecord _record;

    public CommandField(IPciFunction function, ConfigPolicy policy, PowerState power, DeviceRecord record) : base(function, Register.Command, 2)
    {
        (_policy, _power, _record) = (policy, power, record);
        if (policy.KeepLineSilent) ChangeHardware(CommandBits.IntxDisable, CommandBits.IntxDisable);
        if (record.IsComplete) return;
        Function.Read(Offset, Size, out var hardware);
        record.CommandShadow = hardware;
        record.IsDecoding = false;
        // Set only if a daemon that kept no record has served the guest that has the function now.
        record.IsBusMaster = (hardware & CommandBits.Master) != 0;
    }

    public override string Rule => "decoding goes on and never off, bus mastering and MWI are the guest's, the rest is kept for the guest alone";

    public override ConfigWriteFate Fate => ConfigWriteFate.Filtered;

    public override PciOpError Read(out uint value)
    {
        var error = Function.Read(Offset, Size, out var hardware);
        value = (hardware & CommandBits.FromHardware) | (_record.CommandShadow & ~CommandBits.FromHardware & 0xFFFF);
        return error;
    }

    public override PciOpError Write(uint value)
    {
        var decode = (value & CommandBits.Decoding) != 0;
        if (decode != _record.IsDecoding)
        {
            var error = decode ? Enable() : Disable();
            if (error != PciOpError.Success) return error;
        }

        var master = (value & CommandBits.Master) != 0;
        if (master != _record.IsBusMaster) SetBusMaster(master);

        var invalidate = (value & CommandBits.MemoryWriteInvalidate) != 0;
        if (invalidate != ((_record.CommandShadow & CommandBits.MemoryWriteInvalidate) != 0) && !SetMemoryWriteInvalidate(invalidate))
            value &= ~CommandBits.MemoryWriteInvalidate;

        if (_policy is { AllowInterruptControl: true, KeepLineSilent: false } && ((value ^ _record.CommandShadow) & CommandBits.IntxDisable) != 0)
            ChangeHardware(CommandBits.IntxDisable, value);

        _record.CommandShadow = value;
        return _policy.Permissive ? WritePermissive(value) : PciOpError.Success;
    }

    /// <summary>The guest has let go of the function: bus mastering ends, decoding stays as the host had it.</summary>
    public void Release() => Disable();

    /// <summary>The function has lost the register in a reset while its guest uses it: as the guest had it.</summary>
    public void Recover()
    {
        if (_policy.KeepLineSilent) ChangeHardware(CommandBits.IntxDisable, CommandBits.IntxDisable);
        if (_record.IsDecoding) Enable();
        if (_record.IsBusMaster) SetBusMaster(true);
        if ((_record.CommandShadow & CommandBits.MemoryWriteInvalidate) != 0) SetMemoryWriteInvalidate(true);
    }

    private PciOpError Enable()
    {
        // A function that sleeps would decode nothing; one that does not wake up is decoded all the same, as the host's kernel does.
        _power.Set(PowerState.D0);
        // The host decides what to decode from the resources the function has, whichever bit the guest asked for.
        var wanted = 0u;
        for (var i = 0; i < Function.Resources.Length; i++)
        {
            var resource = Function.Resources[i];
            // The ROM shares a decoder with the BARs and is decoded only where the host has enabled it.
            var disabledRom = i == BarField.RomResource && (resource.Flags & 1) == 0;
            if (disabledRom) continue;
            if (resource.IsUnassigned) return (PciOpError)(-Errnos.EINVAL);
            wanted |= resource.IsIo ? CommandBits.Io : resource.IsMemory ? CommandBits.Memory : 0;
        }
        var error = ChangeHardware(wanted, wanted);
        if (error != PciOpError.Success) return error;
        if (!_policy.KeepLineSilent && !MessageInterruptsEnabled() && Function.Read(Register.InterruptPin, 1, out var pin) == PciOpError.Success && pin != 0)
            ChangeHardware(CommandBits.IntxDisable, 0);
        _record.IsDecoding = true;
        return PciOpError.Success;
    }

    private PciOpError Disable()
    {
        var error = ChangeHardware(CommandBits.Master, 0);
        _record.IsDecoding = false;
        _record.IsBusMaster = false;
        return error;
    }

    private void SetBusMaster(bool on)
    {
        ChangeHardware(CommandBits.Master, on ? CommandBits.Master : 0);
        // Conventional PCI only: a bus master needs a share of the bus. PCIe has no latency timer.
        if (on && CapabilityList.Find(Function, CapabilityId.PciExpress) == 0
            && Function.Read(Register.LatencyTimer, 1, out var latency) == PciOpError.Success && latency < MinimumLatency)
            Function.Write(Register.LatencyTimer, 1, DefaultLatency);
        _record.IsBusMaster = on;
    }

    private bool SetMemoryWriteInvalidate(bool on)
    {
        if (on && !SetCacheLineSize()) return false;
        ChangeHardware(CommandBits.MemoryWriteInvalidate, on ? CommandBits.MemoryWriteInvalidate : 0);
        return true;
    }

    // A device may only invalidate whole lines of the host's cache, so the register must be a multiple of the line.
    private bool SetCacheLineSize()
    {
        uint line = Function.CacheLineSize;
        if (line == 0 || Function.Read(Register.CacheLineSize, 1, out var current) != PciOpError.Success) return false;
        if (current >= line && current % line == 0) return true;
        Function.Write(Register.CacheLineSize, 1, line);
        return Function.Read(Register.CacheLineSize, 1, out current) == PciOpError.Success && current == line;
    }

    private PciOpError WritePermissive(uint value)
    {
        var error = Function.Read(Offset, Size, out var hardware);
        if (error != PciOpError.Success || hardware == value) return error;
        return Function.Write(Offset, Size, (value & CommandBits.FromHardware) | (hardware & ~CommandBits.FromHardware));
    }

    private PciOpError ChangeHardware(uint mask, uint bits)
    {
        var error = Function.Read(Offset, Size, out var hardware);
        if (error != PciOpError.Success) return error;
        var changed = (hardware & ~mask) | (bits & mask);
        return changed == hardware ? PciOpError.Success : Function.Write(Offset, Size, changed);
    }

    private bool MessageInterruptsEnabled() =>
        MessageControlField.IsEnabled(Function, CapabilityId.Msi) || MessageControlField.IsEnabled(Function, CapabilityId.Msix);
}
