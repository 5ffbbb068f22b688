using System.Globalization;

namespace XenPciBack.Protocol.Xenbus;

/// <summary>State of one half of a connection (xen/include/public/io/xenbus.h). The order of 7 and 8 behind 6 is historical.</summary>
public enum XenbusState
{
    /// <summary>The node is missing or says nothing we know.</summary>
    Unknown = 0,
    Initialising = 1,
    InitWait = 2,
    Initialised = 3,
    Connected = 4,
    Closing = 5,
    Closed = 6,
    Reconfiguring = 7,
    Reconfigured = 8,
}

public static class XenbusStates
{
    /// <summary>Reads a <c>state</c> node: one decimal number. Anything else is <see cref="XenbusState.Unknown"/>.</summary>
    public static XenbusState Parse(string? text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value is >= 0 and <= 8
            ? (XenbusState)value
            : XenbusState.Unknown;

    public static string ToNodeText(this XenbusState state) => ((int)state).ToString(CultureInfo.InvariantCulture);
}
