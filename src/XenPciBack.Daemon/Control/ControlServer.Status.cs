using System.Net.Sockets;
using Akka.Actor;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Control;

// What the daemon says of itself.
internal sealed partial class ControlServer
{
    private static readonly TimeSpan StatusPeriod = TimeSpan.FromSeconds(1), IncidentsPeriod = TimeSpan.FromMilliseconds(200);

    // A device may be in the middle of something, such as a reset; and a viewer is not sent away because the machine is busy.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private async Task StatusAsync(NetworkStream stream, string subject, bool follow, CancellationToken stop)
    {
        using var closed = CancellationTokenSource.CreateLinkedTokenSource(stop);
        if (follow) _ = CancelAtEndAsync(stream, closed);
        while (true)
        {
            var host = await status.ActorRef.Ask<HostStatus>(GetStatus.Instance, Patience, closed.Token).ConfigureAwait(false);
            var part = PartOf(host, subject);
            await SendAsync(stream, part is null ? NoGuest(subject) : new ControlAnswer(Status: part), closed.Token).ConfigureAwait(false);
            if (!follow || part is null) return;
            await Task.Delay(StatusPeriod, closed.Token).ConfigureAwait(false);
        }
    }

    /// <returns>null: there is no such guest or device.</returns>
    private static HostStatus? PartOf(HostStatus host, string subject)
    {
        if (subject.Length == 0) return host;
        if (!HostBdf.TryParse(subject, out var device))
            return Find(host, subject) is { } found ? host with { Guests = [found], Quarantine = [] } : null;
        var quarantine = host.Quarantine.RemoveAll(quarantined => quarantined.Device != device);
        var guests = host.Guests.Where(guest => guest.Devices.Any(given => given.Device == device)).Select(guest => guest with { Devices = guest.Devices.RemoveAll(given => given.Device != device) });
        return host with { Guests = [.. guests], Quarantine = quarantine } is var part && part.Guests.IsEmpty && quarantine.IsEmpty ? null : part;
    }

    private static GuestStatus? Find(HostStatus host, string subject) =>
        host.Guests.FirstOrDefault(guest => guest.Domain.ToString() == subject) ?? host.Guests.FirstOrDefault(guest => guest.Name == subject);

    private static ControlAnswer NoGuest(string subject) =>
        new($"no guest or device '{subject}' is served here; expected a domain id, a name, or a device as ssss:bb:dd.f");

    private async Task IncidentsAsync(NetworkStream stream, long after, bool follow, CancellationToken stop)
    {
        using var closed = CancellationTokenSource.CreateLinkedTokenSource(stop);
        if (follow) _ = CancelAtEndAsync(stream, closed);
        while (true)
        {
            var incidents = await status.ActorRef.Ask<Incidents>(new GetIncidents(after), Patience, closed.Token).ConfigureAwait(false);
            foreach (var incident in incidents.Latest)
            {
                await SendAsync(stream, new ControlAnswer(Incident: incident), closed.Token).ConfigureAwait(false);
                after = incident.Number;
            }
            if (!follow) return;
            await Task.Delay(IncidentsPeriod, closed.Token).ConfigureAwait(false);
        }
    }

    private async Task<ControlAnswer> ConfigViewAsync(DeviceOfGuest of)
    {
        var host = await status.ActorRef.Ask<HostStatus>(GetStatus.Instance, Patience).ConfigureAwait(false);
        if (Find(host, of.Guest) is not { } guest) return NoGuest(of.Guest);
        try
        {
            return await status.ActorRef.Ask<object>(new GetConfigView(guest.Domain, of.Device), Patience).ConfigureAwait(false) switch
            {
                ConfigView view => new ControlAnswer(ConfigView: view),
                NoConfigView none => new ControlAnswer(none.Reason),
                var other => throw new InvalidOperationException($"{other} is no answer to {nameof(GetConfigView)}"),
            };
        }
        catch (AskTimeoutException)
        {
            return new ControlAnswer($"{of.Device} has not answered within {Patience.TotalSeconds} s");
        }
    }
}
