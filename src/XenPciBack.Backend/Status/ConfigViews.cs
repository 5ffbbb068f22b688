using System.Collections.Immutable;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Backend.Status;

/// <summary>Lays what the rules make of a device's registers over the registers.</summary>
internal static class ConfigViews
{
    /// <param name="device">Its registers.</param>
    /// <param name="ruled">Those with a rule, as the guest reads them.</param>
    public static ConfigView Of(DomainId domain, HostBdf function, ImmutableArray<byte> device, ImmutableArray<FieldOutcome> ruled)
    {
        var guest = device.ToArray();
        foreach (var field in ruled.Where(field => field.Effect == FieldEffect.Virtual))
            for (var i = 0; i < field.Size; i++) guest[field.Offset + i] = (byte)(field.Guest >> (8 * i));
        return new ConfigView(domain, function, [.. guest], device,
            [.. new RegisterNames(device.AsSpan()).Registers(device.Length).Select(register => new ConfigField(register.Offset, register.Size, register.Name, RuleOf(register.Offset, register.Size, ruled)))]);
    }

    private static string? RuleOf(int offset, int size, ImmutableArray<FieldOutcome> ruled)
    {
        var rules = ruled.Where(field => field.Offset < offset + size && offset < field.Offset + field.Size).Select(field => field.Rule).Distinct().ToList();
        return rules.Count == 0 ? null : string.Join("; ", rules);
    }
}
