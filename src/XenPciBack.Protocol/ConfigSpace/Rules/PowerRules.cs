using System.Collections.Immutable;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>PM capabilities: the guest is told that the function cannot raise a PME; others share that line.</summary>
internal sealed class PowerCapabilitiesRule(int offset) : ConfigRule(offset, 2)
{
    private const uint PmeSupport = 0xF800;

    public override string Text => "read-only, without PME support";

    public override uint Show(uint value, in Shadow shadow) => value & ~PmeSupport;
}

/// <summary>
/// PM control and status. The guest may change the power state, clear the PME status and select data; PME enable stays
/// off.
/// </summary>
internal sealed class PowerControlRule(PowerManagement power) : ConfigRule(power.ControlOffset, 2)
{
    // PME status and data select.
    private const uint GuestBits = 0x9E00;

    public override string Text => "power state, data select and PME status are the guest's, PME enable is not";

    public override WriteDecision Decide(in Write write, ReadOnlySpan<uint?> needed)
    {
        var steps = ImmutableArray.CreateBuilder<ConfigStep>();
        if (((write.Device ^ write.Asked) & GuestBits) != 0)
            steps.Add(new ConfigStep.Write(Offset, Size, (write.Device & ~GuestBits) | (write.Asked & GuestBits)));
        var change = power.Change(write.Device, write.Asked & PowerManagement.StateBits);
        if (change is not null) steps.AddRange(change);
        var error = change is null ? PciOpError.AccessDenied : PciOpError.Success;
        return new WriteDecision(steps.ToImmutable(), ConfigWriteFate.Filtered, error);
    }
}

/// <summary>
/// The power states of a function, as its PM capability has them: D0 to D3hot. After D3hot a function may have lost its
/// BARs: the guest's own restore of each one reaches the device (<see cref="BarRule"/>), after the 10 ms that the guest
/// waits anyway, so nothing waits here.
/// </summary>
/// <param name="Offset">Of the capability; 0: there is none, and the function is in D0.</param>
/// <param name="Capabilities">Its capabilities register, as it was when the function was opened.</param>
/// <remarks>PCI Bus Power Management Interface Specification 1.2, section 3.2.4.</remarks>
internal readonly record struct PowerManagement(int Offset, uint Capabilities)
{
    public const uint D0 = 0, D1 = 1, D2 = 2;
    public const uint StateBits = 0x0003;

    private const uint SupportsD1 = 0x0200, SupportsD2 = 0x0400;

    public int ControlOffset => Offset + 4;

    /// <summary>Finds it in a function's capability list.</summary>
    public static PowerManagement Of(IPciFunction function)
    {
        var offset = CapabilityList.Find(function, CapabilityId.PowerManagement);
        return offset != 0 && function.Read(offset + 2, 2, out var capabilities) == PciOpError.Success
            ? new PowerManagement(offset, capabilities) : new PowerManagement(offset, 0);
    }

    /// <summary>Whether the function is in D0 now.</summary>
    public bool IsD0(IPciFunction function)
    {
        if (Offset == 0) return true;
        return function.Read(ControlOffset, 2, out var control) == PciOpError.Success && (control & StateBits) == D0;
    }

    /// <summary>The steps from the present state to another; null: there is no way, or the function is gone.</summary>
    /// <param name="control">The control register; all ones is a function that has gone away.</param>
    public ImmutableArray<ConfigStep>? Change(uint control, uint wanted)
    {
        if (Offset == 0) return wanted == D0 ? ImmutableArray<ConfigStep>.Empty : null;
        if (control == 0xFFFF) return null;
        var current = control & StateBits;
        if (wanted == current) return ImmutableArray<ConfigStep>.Empty;
        // Back to D0 the whole word is written as zero: PME stays disabled and its status, write-one-to-clear, is kept.
        if (wanted == D0) return [new ConfigStep.Write(ControlOffset, 2, 0) { Failure = StepFailure.EndsWriteDenied }];
        // From a sleeping state there is no way to a lighter one but through D0.
        if (wanted < current || !Supports(wanted)) return null;
        return [new ConfigStep.Update(ControlOffset, 2, StateBits, wanted) { Failure = StepFailure.EndsWriteDenied }];
    }

    private bool Supports(uint state) => state switch
    {
        D1 => (Capabilities & SupportsD1) != 0,
        D2 => (Capabilities & SupportsD2) != 0,
        _ => true,
    };
}
