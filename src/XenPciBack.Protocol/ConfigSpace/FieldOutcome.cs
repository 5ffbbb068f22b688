using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>What became of the part of a config access that concerns one field.</summary>
public enum FieldEffect
{
    /// <summary>Read: as the device has it.</summary>
    AsOnDevice,

    /// <summary>Read: not as the device has it.</summary>
    Virtual,

    /// <summary>Write: what was there already.</summary>
    Unchanged,

    /// <summary>Write: every changed bit is in the device now.</summary>
    Allowed,

    /// <summary>Write: some of the changed bits are in the device, or are only what the guest reads.</summary>
    Filtered,

    /// <summary>Write: nothing of it remains.</summary>
    Dropped,

    /// <summary>The guest was told an error.</summary>
    Refused,
}

/// <summary>One field's part of a config access, for the trace. Values are of the whole field.</summary>
/// <param name="Rule">Why, in words.</param>
/// <param name="Asked">The value the guest's write would give the field; null for a read.</param>
/// <param name="Guest">What the guest reads afterwards.</param>
/// <param name="Device">What the device has afterwards.</param>
public sealed record FieldOutcome(int Offset, int Size, FieldEffect Effect, string Rule, uint? Asked, uint Guest, uint Device)
{
    internal static FieldOutcome OfRead(ConfigField field, PciOpError error, uint guest, IPciFunction function)
    {
        function.Read(field.Offset, field.Size, out var device);
        var effect = error != PciOpError.Success ? FieldEffect.Refused : guest == device ? FieldEffect.AsOnDevice : FieldEffect.Virtual;
        return new FieldOutcome(field.Offset, field.Size, effect, field.Rule, Asked: null, guest, device);
    }

    internal static FieldOutcome OfWrite(ConfigField field, PciOpError error, uint before, uint asked, IPciFunction function)
    {
        field.Read(out var guest);
        function.Read(field.Offset, field.Size, out var device);
        var changed = asked ^ before;
        var effect = error != PciOpError.Success ? FieldEffect.Refused
            : changed == 0 ? FieldEffect.Unchanged
            : (changed & (asked ^ device)) == 0 ? FieldEffect.Allowed
            : guest == before ? FieldEffect.Dropped : FieldEffect.Filtered;
        return new FieldOutcome(field.Offset, field.Size, effect, field.Rule, asked, guest, device);
    }
}
