using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenPciBack.Daemon.Control;

/// <summary>The first and only line a client sends.</summary>
/// <param name="Trace">A guest (domain id or name) or a device (ssss:bb:dd.f) whose operations are wanted; empty: all of them.</param>
internal sealed record ControlRequest(string? Trace);

/// <summary>One line of the daemon's answer; exactly one of the two is there.</summary>
/// <param name="Error">Why there will be nothing: the connection ends.</param>
internal sealed record ControlAnswer(string? Error, TraceLine? Operation);

/// <summary>How lines of JSON are written, on the control socket and in recordings.</summary>
internal static class ControlJson
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };
}
