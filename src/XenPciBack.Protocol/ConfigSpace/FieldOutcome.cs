using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>What became of the part of a config access that concerns one rule.</summary>
public enum FieldEffect
{
    /// <summary>Read: as the device has it.</summary>
    AsOnDevice,

    /// <summary>Read: not as the device has it, or without asking the device.</summary>
    Virtual,

    /// <summary>Write: what was there already.</summary>
    Unchanged,

    /// <summary>Write: it reached the device as it is.</summary>
    Allowed,

    /// <summary>Write: a part of it reached the device, or is only what the guest reads.</summary>
    Filtered,

    /// <summary>Write: nothing of it reached anything.</summary>
    Dropped,

    /// <summary>The guest was told an error.</summary>
    Refused,
}

/// <summary>What one rule has decided of a config access, for the trace. Values are of its whole register.</summary>
/// <param name="Rule">Why, in words.</param>
/// <param name="Asked">The value the guest's write would give the register; null for a read.</param>
/// <param name="Guest">What the guest reads afterwards.</param>
/// <param name="Device">What the device has afterwards; null: the access did not have to know.</param>
public sealed record FieldOutcome(
    int Offset, int Size, FieldEffect Effect, string Rule, uint? Asked, uint Guest, uint? Device)
{
    internal static FieldOutcome OfRead(ConfigRule rule, PciOpError error, uint guest, uint? device)
    {
        var effect = error != PciOpError.Success ? FieldEffect.Refused
            : guest == device ? FieldEffect.AsOnDevice : FieldEffect.Virtual;
        return new FieldOutcome(rule.Offset, rule.Size, effect, rule.Text, Asked: null, guest, device);
    }

    internal static FieldOutcome OfWrite(
        ConfigRule rule, PciOpError error, ConfigWriteFate fate, uint before, uint asked, uint guest, uint? device)
    {
        var effect = error != PciOpError.Success ? FieldEffect.Refused
            : asked == before ? FieldEffect.Unchanged
            : fate switch
            {
                ConfigWriteFate.Allowed => FieldEffect.Allowed,
                ConfigWriteFate.Filtered => FieldEffect.Filtered,
                _ => FieldEffect.Dropped,
            };
        return new FieldOutcome(rule.Offset, rule.Size, effect, rule.Text, asked, guest, device);
    }
}
