using System.Collections.Immutable;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Backend.Errors;

/// <summary>
/// Hears of every error of the host's functions and finds the guests it concerns: the one that has the function, all that have one
/// below a bridge that failed, and after a fatal error all below the same port, because the host resets that.
/// </summary>
internal sealed class AerMonitor : ReceiveActor
{
    private readonly XenHost _host;
    private readonly AerPolicies _policies;
    private readonly ILoggingAdapter _log = Context.GetLogger();
    private readonly Dictionary<DomainId, ImmutableArray<SlotMember>> _guests = [];
    private readonly Dictionary<(HostBdf Device, AerSeverity Severity), ErrorRate> _rates = [];
    private readonly long _started;
    private IDisposable? _watch;

    // What guests have of whom nothing has been heard yet: an error from before concerns them, too.
    private readonly Dictionary<DomainId, ImmutableArray<SlotMember>> _onRecord;

    // Uncorrectable errors, the worst of each function, that guests may have met of whom nothing has been heard yet.
    private readonly Dictionary<HostBdf, AerError> _heardEarly = [];

    /// <summary>To the parent: this guest's device has met an error, and this is to be done.</summary>
    /// <param name="Error">What has happened, in words.</param>
    public sealed record Act(DomainId Guest, HostBdf Device, AerSeverity Severity, string Error, AerResponse Response)
    {
        /// <summary>The function whose error led to it; null if it was none that the feed has told of.</summary>
        public HostBdf? Source { get; init; }
    }

    /// <summary>To the parent: an error of this function was told, which leads to so many <see cref="Act"/>s.</summary>
    public sealed record Met(HostBdf Source, int Acts);

    /// <summary>To the parent: it was told of every error that happened while no daemon ran.</summary>
    public sealed record PastErrorsTold
    {
        public static readonly PastErrorsTold Instance = new();
    }

    /// <summary>To the parent: changes of guests are heard from now on, and what was before is not known.</summary>
    public sealed record Listening
    {
        public static readonly Listening Instance = new();
    }

    public AerMonitor(XenHost host, AerPolicies policies)
    {
        (_host, _policies, _started) = (host, policies, host.Clock.GetTimestamp());
        _onRecord = host.DeviceRecords.All.GroupBy(record => record.Guest, record => record.Function).ToDictionary(
            guest => guest.Key, guest => guest.Select(MemberOf).ToImmutableArray());
        Receive<AerReport.Met>(met => OnError(met.Error));
        Receive<AerReport.SourceLost>(lost => _log.Warning("Errors of devices are not heard from {Source} any more: {What}", lost.Source, lost.What));
        Receive<AerReport.RecordsLost>(lost => _log.Warning("The kernel's trace has dropped {Count} records of devices' errors; those are known by their number and status only", lost.Count));
        Receive<AerReport.SourceBack>(back => _log.Info("Errors of devices are heard from {Source} again", back.Source));
        Receive<AerReport.PastErrorsTold>(_ => Context.Parent.Tell(PastErrorsTold.Instance));
        Receive<BackendEvents.GuestChanged>(OnGuestChanged);
        Receive<BackendEvents.GuestGone>(gone => OnGuestGone(gone.Guest));
    }

    public static Props Props(XenHost host, AerPolicies policies) => Akka.Actor.Props.Create(() => new AerMonitor(host, policies));

    protected override void PreStart()
    {
        Context.System.EventStream.Subscribe(Self, typeof(BackendEvents.GuestChanged));
        Context.System.EventStream.Subscribe(Self, typeof(BackendEvents.GuestGone));
        Context.Parent.Tell(Listening.Instance);
        var self = Self;
        _watch = _host.Aer.Watch(report => self.Tell(report, ActorRefs.NoSender));
    }

    protected override void PostStop()
    {
        _watch?.Dispose();
        Context.System.EventStream.Unsubscribe(Self);
    }

    private void OnError(AerError error)
    {
        var (before, now) = Count(error);
        var concerned = ConcernedBy(error, _guests.Concat(_onRecord));
        var isActedOn = error.IsUncorrectable || IsTooMuch(before, now);
        Context.System.EventStream.Publish(new BackendEvents.DeviceError(error)
        {
            IsNews = now.IsNews(before), Concerned = concerned, EndsGuest = isActedOn && concerned.Any(one => _policies.Of(one.Device) == AerResponse.Kill),
        });
        if (!error.IsUncorrectable)
        {
            if (now.IsNews(before))
                LogOf(error).Warning("The device reports an error, {Error}; {Count} within {Window} s",
                    error, now.Count, _policies.CorrectableWindow.TotalSeconds);
            if (!isActedOn)
            {
                _host.Aer.Handled(error.Device, 1);
                return;
            }
        }
        if (!_heardEarly.TryGetValue(error.Device, out var worst) || worst.Severity < error.Severity) _heardEarly[error.Device] = error;
        if (concerned.IsEmpty) _host.Aer.Handled(error.Device, 1);
        else Context.Parent.Tell(new Met(error.Device, concerned.Length));
        Concern(error, concerned, error.Device, isNews: !error.IsUncorrectable || now.IsNews(before));
    }

    private SlotMember MemberOf(HostBdf device) =>
        new(new SlotCandidate(device, IsVirtualFunction: false, _host.Pci.BridgesAbove(device)), default);

    private void OnGuestGone(DomainId guest)
    {
        _guests.Remove(guest);
        _onRecord.Remove(guest);
    }

    private (ErrorRate Before, ErrorRate Now) Count(AerError error)
    {
        var before = _rates.GetValueOrDefault((error.Device, error.Severity)) ?? ErrorRate.None;
        return (before, _rates[(error.Device, error.Severity)] = before.Add(error.Count, _host.Clock.GetElapsedTime(_started), _policies.CorrectableWindow));
    }

    /// <returns>true when so many have come that the device is not to be trusted any more.</returns>
    private bool IsTooMuch(ErrorRate before, ErrorRate now) =>
        _policies.CorrectableLimit > 0 && now.Count > _policies.CorrectableLimit && (before.Count <= _policies.CorrectableLimit || before.Began != now.Began);

    /// <summary>A guest that was there before: what was told by the feed at its start may concern it.</summary>
    private void OnGuestChanged(BackendEvents.GuestChanged changed)
    {
        _onRecord.Remove(changed.Guest);
        var isNew = _guests.TryAdd(changed.Guest, changed.Devices);
        _guests[changed.Guest] = changed.Devices;
        if (!changed.IsOld)
        {
            foreach (var device in changed.Devices) _heardEarly.Remove(device.Host);
        }
        else if (isNew)
        {
            foreach (var error in _heardEarly.Values)
            {
                var concerned = ConcernedBy(error, [KeyValuePair.Create(changed.Guest, changed.Devices)]);
                Concern(error, concerned, source: null, isNews: true);
            }
        }
    }

    private ImmutableArray<BackendEvents.DeviceOfGuest> ConcernedBy(AerError error, IEnumerable<KeyValuePair<DomainId, ImmutableArray<SlotMember>>> guests) =>
        [.. guests.SelectMany(guest => guest.Value.Where(member => Concerns(error, member.Device)).Select(member => new BackendEvents.DeviceOfGuest(guest.Key, member.Host)))
            .OrderBy(one => one.Guest.Value)];

    private void Concern(
        AerError error, ImmutableArray<BackendEvents.DeviceOfGuest> concerned, HostBdf? source, bool isNews)
    {
        // The first of a storm, then the tenth, the hundredth and so on.
        if (isNews) LogOf(error).Error("The device reports an error, {Error}; {Concerned}", error, InWords(concerned));
        foreach (var (guest, device) in concerned)
        {
            var act =
                new Act(guest, device, error.Severity, error.ToString(), _policies.Of(device)) { Source = source };
            Context.Parent.Tell(act);
        }
    }

    private static string InWords(ImmutableArray<BackendEvents.DeviceOfGuest> concerned) =>
        concerned.IsEmpty ? "no guest has it"
        : $"it concerns {string.Join(", ", concerned.Select(c => $"guest {c.Guest} with {c.Device}"))}";

    private ILoggingAdapter LogOf(AerError error) => _log.As(LogEvents.DeviceError).About(error.Device);

    private bool Concerns(AerError error, SlotCandidate device) =>
        device.Bdf == error.Device
        || (error.IsUncorrectable && device.Bridges.Contains(error.Device))
        || (error.Severity == AerSeverity.Fatal && device.Bridges is [.., var port] && _host.Pci.BridgesAbove(error.Device) is [.., var failed] && port == failed);
}
