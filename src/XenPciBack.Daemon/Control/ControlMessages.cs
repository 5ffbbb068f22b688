using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Daemon.Control;

/// <summary>The first and only line a client sends; exactly one of these is there.</summary>
/// <param name="Trace">A guest (domain id or name) or a device (ssss:bb:dd.f) whose operations are wanted; empty: all of them.</param>
/// <param name="ListQuarantine">true: the devices in quarantine are wanted.</param>
/// <param name="ClearQuarantine">A device that guests may be given again.</param>
/// <param name="Fault">The name of a fault that is to happen; only the demo can do that.</param>
/// <param name="HandOver">true: the daemon that stands by is to take over.</param>
/// <param name="Drain">true: the guests are to give their devices back, and the daemon is to end.</param>
/// <param name="Status">A guest (domain id or name) or a device (ssss:bb:dd.f) whose status is wanted; empty: the whole host's.</param>
/// <param name="Incidents">The number of the last incident that is known already, 0 for none: those after it are wanted.</param>
/// <param name="ConfigView">A device of a guest whose registers are wanted.</param>
internal sealed record ControlRequest(
    string? Trace = null, bool? ListQuarantine = null, HostBdf? ClearQuarantine = null, string? Fault = null, bool? HandOver = null, bool? Drain = null,
    string? Status = null, long? Incidents = null, DeviceOfGuest? ConfigView = null)
{
    /// <summary>Not only what there is now: a status each second, incidents as they happen.</summary>
    public bool? Follow { get; init; }
}

/// <param name="Guest">Its domain id or name.</param>
internal sealed record DeviceOfGuest(string Guest, HostBdf Device);

/// <summary>One line of the daemon's answer, and of a recording; exactly one of these is there.</summary>
/// <param name="Error">Why there will be nothing: the connection ends.</param>
/// <param name="IsTracing">True once every operation from now on will be told.</param>
/// <param name="Device">A device, before the first operation of it.</param>
/// <param name="Quarantined">What is in quarantine, after the request.</param>
/// <param name="Injected">The fault that was asked for, and whom it concerns.</param>
/// <param name="HandsOverTo">The process whose turn it is as soon as this one has let go.</param>
/// <param name="Drained">A line for each device that its guest has given back; the daemon ends.</param>
/// <param name="Status">Of the host, with what was asked for.</param>
internal sealed record ControlAnswer(
    string? Error = null, TracedDevice? Device = null, TraceLine? Operation = null, IReadOnlyList<QuarantinedDevice>? Quarantined = null, string? Injected = null,
    int? HandsOverTo = null, IReadOnlyList<string>? Drained = null, HostStatus? Status = null,
    Incident? Incident = null,
    ConfigView? ConfigView = null, bool? IsTracing = null);

/// <summary>A device of a guest, as it was then.</summary>
internal sealed record TracedDevice(int Guest, DeviceDescription Description);

/// <summary>How lines of JSON are written, on the control socket and in recordings.</summary>
internal static class ControlJson
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase), new BdfText(), new VirtualBdfText(), new DomainNumber(), new BytesText() },
    };

    public static byte[] Line<T>(T message) => [.. JsonSerializer.SerializeToUtf8Bytes(message, Options), (byte)'\n'];

    private sealed class BdfText : JsonConverter<HostBdf>
    {
        public override HostBdf Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            HostBdf.TryParse(reader.GetString(), out var bdf) ? bdf : throw new JsonException($"'{reader.GetString()}' is no PCI address; expected ssss:bb:dd.f");

        public override void Write(Utf8JsonWriter writer, HostBdf value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
    }

    private sealed class VirtualBdfText : JsonConverter<VirtualBdf>
    {
        public override VirtualBdf Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            VirtualBdf.TryParse(reader.GetString(), out var bdf) ? bdf : throw new JsonException($"'{reader.GetString()}' is no PCI address; expected ssss:bb:dd.f");

        public override void Write(Utf8JsonWriter writer, VirtualBdf value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
    }

    private sealed class DomainNumber : JsonConverter<DomainId>
    {
        public override DomainId Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => new(reader.GetInt32());

        public override void Write(Utf8JsonWriter writer, DomainId value, JsonSerializerOptions options) => writer.WriteNumberValue(value.Value);
    }

    /// <summary>Config space is 4096 bytes: base64 keeps its line readable.</summary>
    private sealed class BytesText : JsonConverter<ImmutableArray<byte>>
    {
        public override ImmutableArray<byte> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => [.. reader.GetBytesFromBase64()];

        public override void Write(Utf8JsonWriter writer, ImmutableArray<byte> value, JsonSerializerOptions options) => writer.WriteBase64StringValue(value.AsSpan());
    }
}
