using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Backend.Status;

/// <summary>Puts what the backend tells of into incidents, and keeps the latest of them.</summary>
internal sealed class IncidentBook
{
    /// <summary>More than a person reads, and less than what a storm of errors would take.</summary>
    public const int Capacity = 500;

    private readonly Queue<Incident> _latest = new();
    private long _last;

    // What each device, and each that was concerned with it, has met last: the details of what follows from it. A host has so many functions.
    private readonly Dictionary<HostBdf, AerError> _errors = [];

    public ImmutableArray<Incident> After(long number) => [.. _latest.SkipWhile(incident => incident.Number <= number)];

    /// <returns>null: the event is no incident.</returns>
    public Incident? Add(object happened, DateTimeOffset at)
    {
        if (happened is BackendEvents.DeviceError met) Remember(met);
        return happened switch
        {
            // One that ends a guest is told of with the guest's end.
            BackendEvents.DeviceError { IsNews: true, EndsGuest: false } error => Add(at, IncidentKind.DeviceError, error.Concerned.FirstOrDefault()?.Guest, error.Error.Device,
                $"{error.Error.Device} reports an error, {error.Error}; {Concerned(error.Concerned)}", DetailsOf(error.Error)),
            BackendEvents.DeviceSlow slow => Add(at, IncidentKind.DeviceSlow, slow.Guest, slow.Device,
                string.Create(CultureInfo.InvariantCulture,
                    $"{slow.Device} of guest {slow.Guest} has not answered {slow.Access} "
                    + $"for {slow.Lasted.TotalSeconds:0.0} s")),
            BackendEvents.DeviceRecovered(var guest, var device) => Add(at, IncidentKind.Recovered, guest, device, $"The driver of guest {guest} has taken {device} through an error", DetailsOf(device)),
            BackendEvents.GuestKilled killed => Add(at, IncidentKind.GuestKilled, killed.Guest, killed.Device,
                killed.Fault is null ? $"Guest {killed.Guest} was crashed, because its device {killed.Device} is lost: {killed.Reason}"
                    : $"Guest {killed.Guest} cannot be crashed ({killed.Fault}) and goes on without {killed.Device}, which is lost: {killed.Reason}", DetailsOf(killed.Device, killed.Reason), killed.Path),
            BackendEvents.DeviceQuarantined(var device) => Add(at, IncidentKind.Quarantined, device.Guest, device.Device,
                $"{device.Device} is in quarantine since guest {device.Guest} has lost it: {device.Reason}", DetailsOf(device.Device, device.Reason)),
            BackendEvents.ActorReplaced replaced => Add(at, IncidentKind.Restarted, replaced.Guest, null, $"{replaced.Actor} has failed and another one goes on in its place: {replaced.Cause}", path: replaced.Path),
            BackendEvents.GuestAbandoned abandoned => Add(at, IncidentKind.Abandoned, abandoned.Guest, null,
                $"Guest {abandoned.Guest} is served no longer, because its actor has failed too often: {abandoned.Cause}", path: abandoned.Path),
            BackendEvents.GuestMisbehaved(var guest, var what) => Add(at, IncidentKind.Misbehaved, guest, null, $"Guest {guest} breaks the protocol: {what}"),
            GuestAdopted(var changed) => Add(at, IncidentKind.Adopted, changed.Guest, null,
                $"Guest {changed.Guest} of an earlier daemon was taken up, {changed.State}, with {string.Join(", ", changed.Devices.Select(member => member.Host))}"),
            _ => null,
        };
    }

    /// <summary>A guest that was there before anything was heard of it.</summary>
    public sealed record GuestAdopted(BackendEvents.GuestChanged Guest);

    private Incident Add(DateTimeOffset at, IncidentKind kind, DomainId? guest, HostBdf? device, string summary, ImmutableArray<string>? details = null, ImmutableArray<string>? path = null)
    {
        var incident = new Incident(++_last, at, kind, guest, device, summary, details ?? [], path ?? []);
        if (_latest.Count == Capacity) _latest.Dequeue();
        _latest.Enqueue(incident);
        return incident;
    }

    private void Remember(BackendEvents.DeviceError met)
    {
        foreach (var device in met.Concerned.Select(concerned => concerned.Device).Append(met.Error.Device)) _errors[device] = met.Error;
    }

    private static string Concerned(ImmutableArray<BackendEvents.DeviceOfGuest> devices) =>
        devices.IsEmpty ? "no guest has it" : $"it concerns {string.Join(", ", devices.Select(device => $"guest {device.Guest} with {device.Device}"))}";

    /// <param name="reason">Begins with the error, if it was one.</param>
    private ImmutableArray<string> DetailsOf(HostBdf device, string? reason = null) =>
        _errors.TryGetValue(device, out var error) && (reason is null || reason.StartsWith(error.ToString(), StringComparison.Ordinal)) ? DetailsOf(error) : [];

    private static ImmutableArray<string> DetailsOf(AerError error)
    {
        var lines = ImmutableArray.CreateBuilder<string>();
        lines.Add(string.Create(CultureInfo.InvariantCulture, $"{error.Device}, {error.Severity.ToText()}, status {error.Status:x8}, heard from {Source(error.Source)}"));
        for (var bit = 0; bit < 32; bit++)
            if ((error.Status >> bit & 1) != 0)
                lines.Add(string.Create(CultureInfo.InvariantCulture, $"bit {bit}: {AerStatus.NameOf(error.Severity, bit)}{(error.First == bit ? ", the first" : "")}"));
        if (!error.TlpHeader.IsEmpty) lines.Add($"TLP header {string.Join(' ', error.TlpHeader.Select(dword => dword.ToString("x8", CultureInfo.InvariantCulture)))}");
        return lines.ToImmutable();
    }

    private static string Source(AerSource source) => source switch
    {
        AerSource.Trace => "the kernel's trace",
        AerSource.Counters => "the counters in sysfs",
        _ => "a kernel event",
    };
}
