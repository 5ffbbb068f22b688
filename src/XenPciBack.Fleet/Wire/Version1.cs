using System.Text.Json;
using System.Text.Json.Serialization;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Fleet.Wire;

/// <summary>
/// Version 1 of what goes over the wire, as JSON. Recorded bytes in the tests hold it still: fields may be added, never renamed or given another
/// meaning; that would be version 2, with manifests of its own. Fields that this version does not know are ignored, those that are missing are empty or 0.
/// </summary>
internal static class Version1
{
    public sealed record ReportText(string? Host, DateTimeOffset Daemon, StatusText? Status, IncidentText[]? Incidents);

    public sealed record ReportSeenText(string? Host, DateTimeOffset Daemon, long Status, long Incident);

    public sealed record ConfigViewWantedText(int Guest, string? Device);

    public sealed record ConfigViewFoundText(ConfigViewText? View);

    public sealed record StatusText(string? Version, string? Xen, DateTimeOffset Since, DateTimeOffset At, long Number, GuestText[]? Guests, QuarantinedText[]? Quarantine);

    public sealed record GuestText(
        int Domain, string? Name, string? State, string? Topology, DateTimeOffset Since, DeviceText[]? Devices, OperationText[]? Operations, double Rate, LatencyText? Latency);

    public sealed record DeviceText(
        string? Device, string? Virtual, ushort VendorId, ushort DeviceId, uint ClassCode, string? Interrupts,
        int Vectors,
        bool IsRecovering, double? UnansweredSeconds);

    public sealed record OperationText(string? Operation, string? Result, long Count);

    public sealed record LatencyText(double Median, double P99, double Longest);

    public sealed record QuarantinedText(string? Device, int Guest, DateTimeOffset Since, string? Reason);

    public sealed record IncidentText(long Number, DateTimeOffset At, string? Kind, int? Guest, string? Device, string? Summary, string[]? Details, string[]? Path);

    public sealed record ConfigViewText(int Domain, string? Function, byte[]? Guest, byte[]? Device, FieldText[]? Fields);

    public sealed record FieldText(int Offset, int Size, string? Name, string? Rule);

    public static ReportText TextOf(Report report) => new(report.Host, report.Daemon, report.Status is { } status ? TextOf(status) : null, [.. report.Incidents.Select(TextOf)]);

    public static ReportSeenText TextOf(ReportSeen seen) => new(seen.Host, seen.Daemon, seen.Status, seen.Incident);

    public static ConfigViewWantedText TextOf(ConfigViewWanted wanted) => new(wanted.Guest.Value, wanted.Device.ToString());

    public static ConfigViewFoundText TextOf(ConfigViewFound found) => new(found.View is not { } view ? null : new ConfigViewText(
        view.Domain.Value, view.Function.ToString(), [.. view.Guest], [.. view.Device], [.. view.Fields.Select(field => new FieldText(field.Offset, field.Size, field.Name, field.Rule))]));

    public static Report Read(ReportText text)
    {
        var host = Named(text.Host);
        return new Report(host, text.Daemon, text.Status is { } status ? Read(host, status) : null, [.. (text.Incidents ?? []).Take(Report.MostIncidents).Select(Read)]);
    }

    public static ReportSeen Read(ReportSeenText text) => new(text.Host ?? "", text.Daemon, text.Status, text.Incident);

    public static ConfigViewWanted Read(ConfigViewWantedText text) => new(Domain(text.Guest), Bdf(text.Device));

    public static ConfigViewFound Read(ConfigViewFoundText text) => new(text.View is not { } view ? null : new ConfigView(
        Domain(view.Domain), Bdf(view.Function), [.. view.Guest ?? []], [.. view.Device ?? []],
        [.. (view.Fields ?? []).Select(field => new ConfigField(field.Offset, field.Size, field.Name ?? "", field.Rule))]));

    private static StatusText TextOf(HostStatus status) => new(status.Version, status.Xen, status.Since, status.At, status.Number, [.. status.Guests.Select(TextOf)],
        [.. status.Quarantine.Select(lost => new QuarantinedText(lost.Device.ToString(), lost.Guest.Value, lost.Since, lost.Reason))]);

    private static GuestText TextOf(GuestStatus guest) => new(
        guest.Domain.Value, guest.Name, guest.State.ToString(), guest.Topology.ToString(), guest.Since,
        [.. guest.Devices.Select(device => new DeviceText(
            device.Device.ToString(), device.Virtual.ToString(), device.VendorId, device.DeviceId, device.ClassCode,
            device.Interrupts, device.Vectors, device.IsRecovering, device.UnansweredSeconds))],
        [.. guest.Operations.Select(some => new OperationText(some.Operation, some.Result, some.Count))],
        guest.Rate, guest.Latency is { } latency ? new LatencyText(latency.Median, latency.P99, latency.Longest) : null);

    private static IncidentText TextOf(Incident incident) => new(
        incident.Number, incident.At, incident.Kind.ToString(), incident.Guest?.Value, incident.Device?.ToString(), incident.Summary, [.. incident.Details], [.. incident.Path]);

    private static HostStatus Read(string host, StatusText text) => new(
        host, text.Version ?? "", text.Xen ?? "", text.Since, text.At, text.Number, [.. (text.Guests ?? []).Select(Read)],
        [.. (text.Quarantine ?? []).Select(lost => new QuarantinedDevice(Bdf(lost.Device), Domain(lost.Guest), lost.Since, lost.Reason ?? ""))]);

    private static GuestStatus Read(GuestText text) => new(
        Domain(text.Domain), text.Name, OneOf(text.State, XenbusState.Unknown), OneOf(text.Topology, Topology.Vpci), text.Since,
        [.. (text.Devices ?? []).Select(device => new DeviceStatus(
            Bdf(device.Device), Virtual(device.Virtual), device.VendorId, device.DeviceId, device.ClassCode,
            device.Interrupts ?? "none", device.Vectors, device.IsRecovering)
        {
            UnansweredSeconds = device.UnansweredSeconds,
        })],
        [.. (text.Operations ?? []).Select(some => new OperationCount(some.Operation ?? "", some.Result ?? "", some.Count))],
        text.Rate, text.Latency is { } latency ? new LatencyStatus(latency.Median, latency.P99, latency.Longest) : null);

    private static Incident Read(IncidentText text) => new(
        // A kind that a newer daemon has invented is told with its summary.
        text.Number, text.At, OneOf(text.Kind, IncidentKind.DeviceError), text.Guest is { } guest ? Domain(guest) : null, text.Device is null ? null : Bdf(text.Device),
        text.Summary ?? "", [.. text.Details ?? []], [.. text.Path ?? []]);

    private static TEnum OneOf<TEnum>(string? text, TEnum otherwise) where TEnum : struct, Enum =>
        Enum.TryParse<TEnum>(text, out var value) && Enum.IsDefined(value) ? value : otherwise;

    private static string Named(string? host) => string.IsNullOrEmpty(host) ? throw new JsonException("the host has no name") : host;

    private static DomainId Domain(int id) => id is >= 0 and < DomainId.FirstReserved ? new DomainId(id) : throw new JsonException($"{id} is no domain id");

    private static HostBdf Bdf(string? text) => HostBdf.TryParse(text, out var bdf) ? bdf : throw new JsonException($"'{text}' is no PCI address; expected ssss:bb:dd.f");

    private static VirtualBdf Virtual(string? text) => VirtualBdf.TryParse(text, out var bdf) ? bdf : throw new JsonException($"'{text}' is no PCI address; expected ssss:bb:dd.f");
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, MaxDepth = 16)]
[JsonSerializable(typeof(Version1.ReportText))]
[JsonSerializable(typeof(Version1.ReportSeenText))]
[JsonSerializable(typeof(Version1.ConfigViewWantedText))]
[JsonSerializable(typeof(Version1.ConfigViewFoundText))]
internal sealed partial class Version1Json : JsonSerializerContext;
