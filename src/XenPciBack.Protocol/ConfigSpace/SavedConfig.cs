using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// The registers a guest can reach as they were when the function was opened: the header, and for a guest that may write unknown
/// registers everything behind it. A reset or the guest may have changed them; the next user gets them back.
/// </summary>
internal sealed class SavedConfig
{
    // BARs and windows come before the command register, or the function would decode addresses that are not its own yet.
    private const int FirstAfterCommand = 0x0C;

    private readonly IPciFunction _function;
    private readonly uint[] _dwords;
    private readonly uint _command;

    public SavedConfig(IPciFunction function, ConfigPolicy policy)
    {
        _function = function;
        var end = policy.OpensUnknownRegisters ? function.ConfigSize : Register.HeaderEnd;
        _dwords = new uint[(end - FirstAfterCommand) / 4];
        for (var i = 0; i < _dwords.Length; i++) function.Read(FirstAfterCommand + 4 * i, 4, out _dwords[i]);
        // The status half is write-one-to-clear and stays out of it.
        function.Read(Register.Command, 2, out _command);
    }

    public void Restore()
    {
        for (var i = _dwords.Length - 1; i >= 0; i--) Restore(FirstAfterCommand + 4 * i, 4, _dwords[i]);
        Restore(Register.Command, 2, _command);
    }

    private void Restore(int offset, int size, uint value)
    {
        if (_function.Read(offset, size, out var current) == PciOpError.Success && current != value)
            _function.Write(offset, size, value);
    }
}
