using System.Collections.Immutable;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// The registers that a guest or a reset can change, as they were when the function was opened: the header, what the host had set
/// up for PCI Express, and for a guest that may write unknown registers everything behind the header. The next user gets them back,
/// and so does a guest whose device had to be reset.
/// </summary>
internal sealed class SavedConfig
{
    // BARs and windows come before the command register, or the function would decode addresses that are not its own yet.
    private const int FirstAfterCommand = 0x0C, FirstAfterBars = 0x28;

    // Device and link control in the PCI Express capability, and the second ones of its version 2; masks, severities and the control
    // word in the capability for errors. Each has its status elsewhere, so that writing it back clears nothing.
    private const int ExpressFlags = 0x02;
    private static readonly int[] ExpressControls = [0x08, 0x10], ExpressControls2 = [0x28, 0x30], ErrorControls = [0x08, 0x0C, 0x14, 0x18];

    private readonly IPciFunction _function;
    private readonly ImmutableArray<(int Offset, int Size, uint Value)> _registers;

    /// <param name="record">Where they are kept. What a complete one has goes before what the function has now.</param>
    public SavedConfig(IPciFunction function, ConfigPolicy policy, DeviceRecord record)
    {
        _function = function;
        if (!record.IsComplete) SaveAll(policy, record);
        _registers = record.Saved;
    }
    /// <summary>A BAR is not as it was, which no guest can bring about: the function has been reset.</summary>
    public bool IsLost => _registers.Any(register =>
        register is { Offset: >= Register.Bar0 and < FirstAfterBars } && _function.Read(register.Offset, register.Size, out var current) == PciOpError.Success && current != register.Value);

    public void Restore()
    {
        foreach (var (offset, size, value) in _registers)
            if (_function.Read(offset, size, out var current) == PciOpError.Success && current != value)
                _function.Write(offset, size, value);
    }

    private void SaveAll(ConfigPolicy policy, DeviceRecord record)
    {
        void Save(int offset, int size)
        {
            if (_function.Read(offset, size, out var value) == PciOpError.Success) record.Save(offset, size, value);
        }

        if (CapabilityList.Find(_function, CapabilityId.PciExpress) is not 0 and var express)
        {
            _function.Read(express + ExpressFlags, 2, out var flags);
            foreach (var control in (flags & 0xF) >= 2 ? [.. ExpressControls, .. ExpressControls2] : ExpressControls) Save(express + control, 2);
        }
        if (CapabilityList.FindExtended(_function, CapabilityId.ErrorReporting) is not 0 and var errors)
            foreach (var control in ErrorControls) Save(errors + control, 4);
        for (var offset = (policy.OpensUnknownRegisters ? _function.ConfigSize : Register.HeaderEnd) - 4; offset >= FirstAfterCommand; offset -= 4) Save(offset, 4);
        // The status half is write-one-to-clear and stays out of it.
        Save(Register.Command, 2);
    }
}
