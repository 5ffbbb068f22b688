namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// The writable part of a header as it was when the function was opened. A reset or a guest may have changed it;
/// the next user gets it back.
/// </summary>
internal sealed class SavedHeader
{
    // BARs and windows come before the command register, or the function would decode addresses that are not its own yet.
    private const int FirstAfterCommand = 0x0C;

    private readonly IPciFunction _function;
    private readonly uint[] _dwords = new uint[(Register.HeaderEnd - FirstAfterCommand) / 4];
    private readonly uint _command;

    public SavedHeader(IPciFunction function)
    {
        _function = function;
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
        if (_function.Read(offset, size, out var current) == SharedPage.PciOpError.Success && current != value)
            _function.Write(offset, size, value);
    }
}
