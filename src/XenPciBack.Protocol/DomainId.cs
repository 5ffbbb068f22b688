using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>A Xen domain id, 0..0x7FEF for real domains (xen/include/public/xen.h; 0x7FF0 and above are reserved ids).</summary>
public readonly record struct DomainId
{
    /// <summary>One past the largest id of a real domain (DOMID_FIRST_RESERVED).</summary>
    public const int FirstReserved = 0x7FF0;

    public static readonly DomainId Zero = new(0);

    public DomainId(int value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(value);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(value, FirstReserved);
        Value = value;
    }

    public int Value { get; }

    /// <summary>Accepts plain decimal digits only, as xenstore paths carry them.</summary>
    public static bool TryParse(string? text, out DomainId domain)
    {
        var ok = int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value < FirstReserved;
        domain = ok ? new DomainId(value) : default;
        return ok;
    }

    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
