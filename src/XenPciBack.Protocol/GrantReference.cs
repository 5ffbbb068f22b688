using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>A guest's permission number for one of its pages (xen/include/public/grant_table.h). 0 is never a valid grant.</summary>
public readonly record struct GrantReference(uint Value)
{
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
