using System.Diagnostics.Metrics;
using System.Globalization;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using Series = System.Collections.Generic.IEnumerable<System.Diagnostics.Metrics.Measurement<long>>;
using Tag = System.Collections.Generic.KeyValuePair<string, object?>;

namespace XenPciBack.Backend.Status;

/// <summary>
/// Shows what <see cref="BackendMeters"/> has counted, as instruments of a meter named <see cref="MeterName"/>, after the conventions of OpenTelemetry.
/// They are read when somebody looks; nothing is spent on them otherwise. A guest has no more series than devices, opcodes and results make.
/// </summary>
internal sealed class Instruments : IDisposable
{
    public const string MeterName = "XenPciBack";

    // In seconds, every doubling of LatencyBuckets from 2 µs to 4 s.
    private static readonly InstrumentAdvice<double> Durations = new() { HistogramBucketBoundaries = [.. Enumerable.Range(1, 22).Select(doubling => (1L << doubling) / 1e6)] };

    private readonly BackendMeters _counted;
    private readonly Histogram<double> _operations, _dispatches, _storeRequests;
    private readonly Lock _telling = new();

    public Meter Meter { get; } = new(MeterName);

    public Instruments(BackendMeters counted)
    {
        _counted = counted;
        _operations = Meter.CreateHistogram("xenpciback.operation.duration", "s", "From a guest's event to the answer.", tags: null, Durations);
        _dispatches = Meter.CreateHistogram("xenpciback.event.dispatch.duration", "s", "From a guest's event to its actor.", tags: null, Durations);
        _storeRequests = Meter.CreateHistogram("xenpciback.xenstore.request.duration", "s", "From a request to xenstored to its answer.", tags: null, Durations);

        Number("xenpciback.guests", "{guest}", "Guests that are served.", Guests);
        Total("xenpciback.operations", "{operation}", "Operations that guests were answered.", Operations);
        Total("xenpciback.config.writes", "{write}", "Config writes answered with success, by what the rules let through of them.", Writes);
        Number("xenpciback.interrupt.vectors", "{vector}", "Messages (MSI, MSI-X) that are on.", Vectors);
        Number("xenpciback.mailbox.depth", "{message}", "Messages that wait for a guest's actor.", MailboxDepths);
        Total("xenpciback.aer.errors", "{error}", "Errors that functions of the host have reported.", Errors);
        Total("xenpciback.device.slow_accesses", "{access}", "Accesses that a device has not answered for a second.",
            SlowAccesses);
        Number("xenpciback.devices.quarantined", "{device}", "Devices that no guest gets.", () => One(_counted.Quarantined));
        Total("xenpciback.guest.kills", "{guest}", "Guests that were crashed because a device was lost.", () => One(_counted.Kills));
        Total("xenpciback.guest.adoptions", "{guest}", "Guests of an earlier daemon that were taken up.", () => One(_counted.Adoptions));
        Total("xenpciback.guest.violations", "{violation}", "Ways in which guests have broken the protocol.", () => One(_counted.Violations));
        Total("xenpciback.actor.starts", "{start}", "Actors that were started.", () => ByActor(_counted.ActorStarts));
        Total("xenpciback.actor.stops", "{stop}", "Actors that have ended.", () => ByActor(_counted.ActorStops));
        Total("xenpciback.actor.restarts", "{restart}", "Actors that have failed and were started again.", () => ByActor(_counted.ActorRestarts));
        Total("xenpciback.xenstore.reconnects", "{reconnect}", "Connections to xenstored that took the place of a lost one.", () => One(_counted.StoreReconnects));
        Number("xenpciback.xenstore.connections", "{connection}", "0 while xenstored is away, else 1.", () => One(_counted.IsStoreAway ? 0 : 1));
        Number("xenpciback.standbys", "{daemon}", "1 while another daemon stands by, else 0.", () => _counted.HasStandby is { } hasStandby ? One(hasStandby() ? 1 : 0) : []);
    }

    public void StoreAnswered(TimeSpan took) => _storeRequests.Record(took.TotalSeconds);

    /// <summary>Puts what the guest's actor has counted since the last time into the histograms, because they take locks that it must not take.</summary>
    public void Tell(GuestMeter guest)
    {
        lock (_telling)
        {
            for (var i = 0; i < guest.Answering.Count; i++) guest.Answering[i].Tell(_operations, new Tag("opcode", OperationCounts.Operations[i]));
            guest.Dispatching.Tell(_dispatches);
        }
    }

    public void Dispose() => Meter.Dispose();

    private void Total(string name, string unit, string description, Func<Series> read) => Meter.CreateObservableCounter(name, read, unit, description);

    private void Number(string name, string unit, string description, Func<Series> read) => Meter.CreateObservableUpDownCounter(name, read, unit, description);

    private static Series One(long value) => [new(value)];

    // Whoever collects reads what is observable first, and the histograms after it.
    private Series Guests()
    {
        foreach (var guest in _counted.Guests) Tell(guest);
        return One(_counted.Guests.Count);
    }

    private Series Operations()
    {
        foreach (var guest in _counted.Guests)
        {
            foreach (var device in guest.Devices)
                foreach (var count in device.Operations.All)
                    yield return new(count.Count, Domain(guest), Device(device), new("opcode", count.Operation), new("result", count.Result));
            foreach (var count in guest.Elsewhere.All)
                yield return new(count.Count, Domain(guest), new("device", "none"), new("opcode", count.Operation), new("result", count.Result));
        }
    }

    private Series Writes() =>
        from guest in _counted.Guests
        from device in guest.Devices
        from fate in (ConfigWriteFate[])[ConfigWriteFate.Allowed, ConfigWriteFate.Filtered, ConfigWriteFate.Dropped]
        select new Measurement<long>(device.WritesOf(fate), Domain(guest), Device(device), new("fate", fate switch
        {
            ConfigWriteFate.Allowed => "allowed",
            ConfigWriteFate.Filtered => "filtered",
            _ => "dropped",
        }));

    private Series Vectors() =>
        from guest in _counted.Guests
        from device in guest.Devices
        where device.Messages != MessageKind.None
        select new Measurement<long>(device.Vectors, Domain(guest), Device(device), new("kind", device.Messages == MessageKind.Msi ? "msi" : "msix"));

    private Series SlowAccesses() =>
        from guest in _counted.Guests
        from device in guest.Devices
        select new Measurement<long>(device.Access.SlowOnes, Domain(guest), Device(device));

    private Series MailboxDepths() => from guest in _counted.Guests select new Measurement<long>(guest.MailboxDepth, Domain(guest));

    private Series Errors() =>
        from errors in _counted.Errors
        select new Measurement<long>(errors.Value, new("device", errors.Key.Device.ToString()), new("severity", errors.Key.Severity.ToText()), new("status", errors.Key.Status));

    private static Series ByActor(IEnumerable<KeyValuePair<string, long>> counts) => from count in counts select new Measurement<long>(count.Value, new Tag("actor", count.Key));

    private static Tag Domain(GuestMeter guest) => new("domain", guest.Domain.Value.ToString(CultureInfo.InvariantCulture));

    private static Tag Device(DeviceMeter device) => new("device", device.Device.ToString());
}
