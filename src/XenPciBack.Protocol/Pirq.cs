using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>
/// A physical interrupt as the hypervisor numbers it for one domain. A guest binds it to an event channel of its own. Positive;
/// the shared page has 16 bits for it.
/// </summary>
public readonly record struct Pirq(int Value)
{
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
