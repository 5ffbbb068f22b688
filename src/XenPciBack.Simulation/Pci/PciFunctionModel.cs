using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Simulation.Pci;

/// <summary>
/// One function of the simulated host: what hardware does, and nothing of what a backend allows. Thread-safe, as a bus is.
/// </summary>
public sealed class PciFunctionModel
{
    private readonly Lock _lock = new();
    private readonly ConfigRegisters _registers;
    private readonly byte[] _asFirmwareLeftIt;
    private readonly bool _canReset;

    internal PciFunctionModel(PciFunctionDescription description, HostAddressSpace addresses)
    {
        (Bdf, VendorId, DeviceId) = (description.Bdf, description.Vendor, description.Device);
        (Irq, LineSharers, IsVirtualFunction, Bridges, _canReset) = (description.Irq, description.LineSharers, description.IsVirtualFunction, description.Bridges, description.CanReset);
        _registers = description.Registers;

        var isBridge = (_registers.Read(0x0E, 1) & 0x7F) == 1;
        var resources = new PciResource[7];
        foreach (var bar in description.Bars)
        {
            var address = addresses.Assign(bar);
            bar.Define(_registers, address, isBridge);
            resources[bar.Index] = bar.ResourceAt(address);
        }
        Resources = [.. resources];
        _asFirmwareLeftIt = _registers.Snapshot();
    }

    public HostBdf Bdf { get; }
    public ushort VendorId { get; }
    public ushort DeviceId { get; }
    public int Irq { get; }
    public ImmutableArray<string> LineSharers { get; }
    public bool IsVirtualFunction { get; }
    public ImmutableArray<HostBdf> Bridges { get; }
    public ImmutableArray<PciResource> Resources { get; }
    public int ConfigSize => _registers.Size;

    /// <summary>Times the function has been reset.</summary>
    public int Resets { get; private set; }

    /// <summary>Whether the function still answers. Set to false, it has been pulled out or its link is down.</summary>
    public bool IsPresent { get; set; } = true;

    /// <summary>What is in the register, wide enough to compare with what a guest was told. All ones above <see cref="ConfigSize"/>.</summary>
    public uint Read(int offset, int size)
    {
        lock (_lock)
            return IsPresent && offset < ConfigSize ? _registers.Read(offset, size) : uint.MaxValue >> (32 - 8 * size);
    }

    /// <summary>A write from the bus.</summary>
    public void Write(int offset, int size, uint value)
    {
        lock (_lock)
            if (IsPresent && offset < ConfigSize) _registers.Write(offset, size, value);
    }

    /// <summary>Changes a register from inside the device, for example an error bit software can only clear.</summary>
    public void Force(int offset, int size, uint value)
    {
        lock (_lock)
            _registers.Force(offset, size, value);
    }

    /// <summary>Resets the function and puts the registers back, as the kernel does around a reset.</summary>
    /// <returns>null, or why it cannot be reset.</returns>
    internal string? TryReset()
    {
        if (!_canReset) return "the kernel knows no way to reset this device alone";
        lock (_lock)
        {
            _registers.Restore(_asFirmwareLeftIt);
            Resets++;
        }
        return null;
    }
}
