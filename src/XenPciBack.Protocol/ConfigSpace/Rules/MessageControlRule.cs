namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>
/// Message control of MSI or MSI-X. Guests enable message interrupts by request, not here; only one that has been
/// allowed interrupt control (a stub domain) may change the enable and mask-all bits, and only one kind of interrupt at
/// a time.
/// </summary>
internal sealed class MessageControlRule : ConfigRule
{
    private const uint MsiEnable = 0x0001, MsixEnable = 0x8000, MsixMaskAll = 0x4000;
    private const int Control = 2;

    private readonly ConfigPolicy _policy;
    private readonly uint _enable, _changeable, _enableOfOther;
    private readonly (int Offset, int Size)[] _other;

    private MessageControlRule(
        ConfigPolicy policy, int capability, uint enable, uint changeable, int other, uint enableOfOther)
        : base(capability + Control, 2)
    {
        (_policy, _enable, _changeable, _enableOfOther) = (policy, enable, changeable, enableOfOther);
        _other = other == 0 ? [] : [ControlOf(other)];
    }

    public override string Text => "switched by requests, not by writes";

    /// <param name="msi">Offset of the MSI capability.</param>
    /// <param name="msix">Offset of the MSI-X capability; 0: there is none.</param>
    public static MessageControlRule OfMsi(ConfigPolicy policy, int msi, int msix) =>
        new(policy, msi, MsiEnable, MsiEnable, msix, MsixEnable);

    /// <inheritdoc cref="OfMsi"/>
    public static MessageControlRule OfMsix(ConfigPolicy policy, int msi, int msix) =>
        new(policy, msix, MsixEnable, MsixEnable | MsixMaskAll, msi, MsiEnable);

    public override ReadOnlySpan<(int Offset, int Size)> Needs(in Write write) => _other;

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed)
    {
        if (_policy.Permissive) return WriteDecision.Through(this, write.Asked);
        if (write.Asked == write.Device) return WriteDecision.Unchanged;
        var isChangeable = ((write.Asked ^ write.Device) & ~_changeable) == 0;
        if (!_policy.AllowInterruptControl || !isChangeable) return WriteDecision.Denied;
        var isOtherOn = needed is [{ } other] && (other & _enableOfOther) != 0;
        if ((write.Asked & _enable) != 0 && isOtherOn) return WriteDecision.Denied;
        return WriteDecision.Through(this, write.Asked);
    }

    /// <summary>The step that switches it off.</summary>
    public ConfigStep Release() => new ConfigStep.Update(Offset, Size, _enable, 0) { Failure = StepFailure.Ignored };

    /// <summary>Whether messages are on, by the control registers of MSI and of MSI-X; null: not there.</summary>
    public static bool IsAnyOn(uint? msi, uint? msix) => (msi & MsiEnable) is > 0 || (msix & MsixEnable) is > 0;

    /// <param name="capability">Offset of the capability.</param>
    public static (int Offset, int Size) ControlOf(int capability) => (capability + Control, 2);
}
