using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet.Web;

/// <summary>
/// The fleet as JSON: the records of what a daemon says, member by member, with addresses as their text, domain ids as numbers, times in ISO 8601 and bytes in hexadecimal.
/// </summary>
internal static class FleetJson
{
    /// <summary>Incidents of the whole fleet that a viewer is given at first, the newest ones.</summary>
    private const int MostIncidents = 500;

    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase), new Domains(), new HostAddresses(), new VirtualAddresses(), new Bytes(), new Figures() },
    };

    public static object Fleet(FleetState fleet) =>
        new { At = DateTimeOffset.UtcNow, Hosts = fleet.Hosts.Select(host => Host(host.Key, host.Value)), Incidents = fleet.Incidents.Take(MostIncidents).Select(Incident) };

    public static object Host(string name, HostEntry entry) => new { Host = name, entry.Presence, entry.PresentSince, entry.Status };

    public static object Guest(string host, HostEntry entry, GuestStatus guest) =>
        new { Host = host, entry.Presence, entry.PresentSince, Guest = guest, Incidents = entry.Incidents.Where(told => told.Incident.Guest == guest.Domain).Select(Incident) };

    public static object Incident(HostIncident told)
    {
        var what = told.Incident;
        return new { told.Host, told.Daemon, what.Number, what.At, what.Kind, what.Guest, what.Device, what.Summary, what.Details, what.Path };
    }

    public static Task WriteAsync(HttpContext context, object value) => context.Response.WriteAsJsonAsync(value, value.GetType(), Options, context.RequestAborted);

    private sealed class Domains : Text<DomainId>
    {
        public override void Write(Utf8JsonWriter writer, DomainId value, JsonSerializerOptions options) => writer.WriteNumberValue(value.Value);
    }

    private sealed class HostAddresses : Text<HostBdf>
    {
        public override void Write(Utf8JsonWriter writer, HostBdf value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
    }

    private sealed class VirtualAddresses : Text<VirtualBdf>
    {
        public override void Write(Utf8JsonWriter writer, VirtualBdf value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
    }

    private sealed class Bytes : Text<ImmutableArray<byte>>
    {
        public override void Write(Utf8JsonWriter writer, ImmutableArray<byte> value, JsonSerializerOptions options) => writer.WriteStringValue(Convert.ToHexStringLower(value.AsSpan()));
    }

    /// <summary>JSON has no word for what is no number.</summary>
    private sealed class Figures : Text<double>
    {
        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options) => writer.WriteNumberValue(double.IsFinite(value) ? value : 0);
    }

    /// <summary>Only ever written: nothing that a viewer sends is read as JSON.</summary>
    private abstract class Text<T> : JsonConverter<T>
    {
        public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException();
    }
}
