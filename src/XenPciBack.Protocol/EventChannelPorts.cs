using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>The guest's end of an event channel, as the guest numbers it.</summary>
public readonly record struct RemotePort(uint Value)
{
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Our end of an event channel, as the hypervisor numbers it for this domain.</summary>
public readonly record struct LocalPort(uint Value)
{
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
