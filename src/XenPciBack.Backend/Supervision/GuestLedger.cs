using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using static XenPciBack.Backend.Supervision.LedgerEffect;
using static XenPciBack.Backend.Supervision.LedgerInput;
using DeviceOfGuest = XenPciBack.Backend.BackendEvents.DeviceOfGuest;
using Result = (
    XenPciBack.Backend.Supervision.GuestLedger Next,
    System.Collections.Immutable.ImmutableArray<XenPciBack.Backend.Supervision.LedgerEffect> Effects);

namespace XenPciBack.Backend.Supervision;

/// <summary>
/// What the supervisor knows of its guests and of their lost devices, and what follows from what happens:
/// <code>
///   directory listed --> served --actor finished--> removed
///   served --actor starts over--> served by another actor
///   served --actor failed--> served by another actor, or, after MostFailures within FailureWindow, left alone
///   device lost --> intent, crash, quarantine (CrashSequence) --on record--> actors told, error handled
///   record of a device without a guest --past errors known--> taken back
/// </code>
/// Each act that an error leads to is answered once it cannot be forgotten any more; when all are, the error is
/// handled.
/// </summary>
internal sealed record GuestLedger
{
    private static readonly ImmutableArray<LedgerEffect> Nothing = [];

    public static readonly GuestLedger Empty = new();

    private GuestLedger() { }

    public ImmutableDictionary<BackendDirectory, ServedGuest> Guests { get; private init; } =
        ImmutableDictionary<BackendDirectory, ServedGuest>.Empty;

    /// <summary>Devices that no guest may get, at least until their guests are gone.</summary>
    public ImmutableDictionary<DeviceOfGuest, LostDevice> Lost { get; private init; } =
        ImmutableDictionary<DeviceOfGuest, LostDevice>.Empty;

    /// <summary>Devices on record for guests without a connection.</summary>
    public ImmutableDictionary<DeviceOfGuest, GuestLife> Unclaimed { get; private init; } =
        ImmutableDictionary<DeviceOfGuest, GuestLife>.Empty;

    public ImmutableHashSet<DeviceOfGuest> TakingBack { get; private init; } = [];

    public PastErrors PastErrors { get; private init; }

    private OpenErrors Open { get; init; } = OpenErrors.None;

    // Guests without a connection that run, as the log says already.
    private ImmutableHashSet<DomainId> Forgotten { get; init; } = [];

    /// <summary>The guests that have an actor.</summary>
    public IEnumerable<ServedGuest> Served => Guests.Values.Where(guest => guest.Stage != GuestStage.LeftAlone);

    /// <summary>The devices for which a guest is crashed.</summary>
    public ImmutableHashSet<HostBdf> LostOf(DomainId guest) =>
        [.. Lost.Where(lost => lost.Key.Guest == guest && lost.Value.EndsGuest).Select(lost => lost.Key.Device)];

    public Result On(LedgerInput input) => CountAnswers(Decide(input));

    private Result Decide(LedgerInput input) => input switch
    {
        Listed listed => OnListed(listed),
        LossFound(var loss, var vm) => OnLossFound(loss, vm),
        ActorEnds(var directory, var stage, var fault) => OnActorEnds(directory, stage, fault),
        ActorEnded(var directory, var at) => OnActorEnded(directory, at),
        ErrorMet(var source, var acts) => (this with { Open = Open.Add(source, acts) }, Nothing),
        DeviceError(var act, var at, var origin) => OnError(act, at, origin),
        DeviceLost(var device, var reason, var at, var origin) => OnLost(device, reason, source: null, at, origin),
        ErrorSettled(var device) => OnErrorSettled(device),
        Tried(var attempt, var fault) => OnTried(attempt, fault),
        DetachEnded(var device, var fault) => OnDone(device, Awaited.Detach, new SayDetached(device, fault)),
        ErrorsKnown => TakeBackUnclaimed(this with { PastErrors = PastErrors.Known }),
        DeviceClosed(var device) => Lost.GetValueOrDefault(device) is { EndsGuest: true, Awaits: Awaited.Nothing }
            ? TakeBack(device) : (this, Nothing),
        TakenBack(var device, var released, var fault) =>
            (this with { TakingBack = TakingBack.Remove(device), Unclaimed = Unclaimed.Remove(device) },
                [new SayTakenBack(device, released, fault)]),
        TookOver => (this with { Guests = WithoutFailures() }, Nothing),
        _ => throw new ArgumentOutOfRangeException(nameof(input), input, "unknown input"),
    };

    // ---- Directories and actors -------------------------------------------------------------------------------------

    private Result OnListed(Listed listed)
    {
        var effects = ImmutableArray.CreateBuilder<LedgerEffect>();
        var directories = listed.Found.Select(found => found.Directory).ToHashSet();
        var guests = Guests.ToBuilder();
        guests.RemoveRange(Guests.Values.Where(guest => guest.Stage == GuestStage.LeftAlone)
            .Select(guest => guest.Directory).Where(directory => !directories.Contains(directory)));
        foreach (var (directory, vm, owner) in listed.Found.Where(found => !guests.ContainsKey(found.Directory)))
        {
            var guest = new ServedGuest(directory, vm);
            if (owner == DirectoryOwner.Kernel) guest = guest with { Stage = GuestStage.LeftAlone };
            guests.Add(directory, guest);
            effects.Add(owner == DirectoryOwner.Kernel ? new SayLeftToKernel(directory) : Serve(guest));
            if (owner == DirectoryOwner.Nobody) effects.AddRange(SayLosses(directory));
        }
        var present = guests.Keys.Select(directory => directory.Guest).ToHashSet();
        var next = this with
        {
            Guests = guests.ToImmutable(),
            Lost = Lost.RemoveRange(Lost.Where(lost => lost.Value.Awaits == Awaited.Nothing)
                .Select(lost => lost.Key).Where(device => !present.Contains(device.Guest))),
            Unclaimed = listed.Unclaimed.RemoveRange(listed.Unclaimed.Keys.Where(key => present.Contains(key.Guest))),
        };
        var (last, taken) = TakeBackUnclaimed(next);
        return (last, [.. effects, .. taken]);
    }

    private Result OnActorEnds(BackendDirectory directory, GuestStage stage, string? fault) =>
        Guests.TryGetValue(directory, out var guest)
            ? (With(guest with { Stage = stage, Fault = fault ?? guest.Fault }), Nothing)
            : (this, Nothing);

    private Result OnActorEnded(BackendDirectory directory, TimeSpan at)
    {
        if (!Guests.TryGetValue(directory, out var guest)) return (this, Nothing);
        switch (guest.Stage)
        {
            case GuestStage.StartingOver:
                var again = guest with { Stage = GuestStage.Serving };
                return (With(again), [Serve(again)]);
            case GuestStage.Finishing:
                // The toolstack may have made the directory anew while the actor was ending.
                return (this with { Guests = Guests.Remove(directory) },
                    [.. AnswersOf(guest), new SayGone(directory), new Look()]);
        }
        var fault = guest.Fault ?? "it has ended and did not say why";
        var failures = guest.Failures.RemoveAll(failure => at - failure > FailureTable.FailureWindow).Add(at);
        var next = new ServedGuest(directory, guest.Vm) { Failures = failures, Unsettled = guest.Unsettled };
        if (failures.Count < FailureTable.MostFailures)
            return (With(next), [new SayReplaced(directory, fault), Serve(next)]);
        next = next with { Stage = GuestStage.LeftAlone, Unsettled = ServedGuest.NoErrors };
        return (With(next), [.. AnswersOf(guest), new SayAbandoned(directory, fault)]);
    }

    private IEnumerable<SayLost> SayLosses(BackendDirectory directory) =>
        Lost.Where(lost => lost.Key.Guest == directory.Guest && lost.Value.EndsGuest)
            .Select(lost => new SayLost(directory, lost.Value.Text));

    private Serve Serve(ServedGuest guest) =>
        new(guest.Directory, LostOf(guest.Directory.Guest), [.. guest.Unsettled.Values]);

    private ImmutableDictionary<BackendDirectory, ServedGuest> WithoutFailures() => Served.ToImmutableDictionary(
        guest => guest.Directory, guest => guest with { Failures = [] });

    // ---- Errors of devices ------------------------------------------------------------------------------------------

    private static Result CountAnswers(Result decided)
    {
        var (next, effects) = (decided.Next, ImmutableArray.CreateBuilder<LedgerEffect>());
        foreach (var effect in decided.Effects)
        {
            if (effect is not Answered(var source))
            {
                effects.Add(effect);
                continue;
            }
            (var open, var handled) = next.Open.Answer(source);
            next = next with { Open = open };
            if (handled > 0) effects.Add(new ErrorsHandled(source, handled));
        }
        return (next, effects.ToImmutable());
    }

    private Result OnError(AerMonitor.Act act, DateTimeOffset at, string origin)
    {
        var device = new DeviceOfGuest(act.Guest, act.Device);
        var guests = Of(act.Guest);
        if (act.Response == AerResponse.Report) return (this, [.. Tell(guests, act), .. Answer(act.Source)]);
        // Its guest ended while no daemon ran, so that nobody has given the device back.
        if (guests.IsEmpty && Unclaimed.ContainsKey(device))
            return OnLost(device, act.Error, act.Source, at, origin, Remedy.Quarantine, Awaited.Quarantine);
        // The guest is gone, and the device nobody's.
        if (guests.IsEmpty) return (this, Answer(act.Source));
        if (act.Response == AerResponse.Kill || !LostOf(act.Guest).IsEmpty)
            return OnLost(device, act.Error, act.Source, at, origin);
        if (act.Response == AerResponse.Detach)
            return OnLost(
                device, act.Error, act.Source, at, origin, Remedy.Quarantine, Awaited.Quarantine | Awaited.Detach);
        // More of what the guest's actor is at already: a storm is one message.
        var before = guests[0].Unsettled.GetValueOrDefault(act.Device);
        if (before is not null && before.Severity >= act.Severity) return (this, Answer(act.Source));
        var next = guests.Aggregate(this, (ledger, guest) =>
            ledger.With(guest with { Unsettled = guest.Unsettled.SetItem(act.Device, act) }));
        return (next, [.. Tell(guests, act), .. Answer(before?.Source)]);
    }

    private Result OnLost(DeviceOfGuest device, string reason, HostBdf? source, DateTimeOffset at, string origin) =>
        Of(device.Guest) is [var guest, ..]
            ? OnLost(device, reason, source, at, origin, LostOf(device.Guest).IsEmpty ? Remedy.Crash : Remedy.Intend,
                Awaited.Quarantine, guest.Vm)
            : (this, Answer(source));

    private Result OnLost(
        DeviceOfGuest device, string reason, HostBdf? source, DateTimeOffset at, string origin, Remedy remedy,
            Awaited awaits,
        string? vm = null)
    {
        var endsGuest = remedy != Remedy.Quarantine;
        var before = Lost.GetValueOrDefault(device);
        if (before is not null && (before.EndsGuest || !endsGuest)) return OnLostAgain(device, before, source);
        ImmutableArray<HostBdf> sources =
            [.. before?.Sources ?? [], .. SourcesOf(device), .. source is { } one ? [one] : Array.Empty<HostBdf>()];
        var loss = new Loss(device.Guest, vm, device.Device, at, reason);
        var lost = new LostDevice(endsGuest, awaits, sources, Text(loss));
        var next = (this with { Lost = Lost.SetItem(device, lost) }).WithoutError(device);
        ImmutableArray<LedgerEffect> effects = [new Hold(loss.Quarantined), new Try(loss, remedy, origin)];
        if (awaits.HasFlag(Awaited.Detach)) effects = effects.Add(new Detach(device));
        if (remedy != Remedy.Crash) return (next, effects);
        effects = effects.AddRange(Of(device.Guest).Select(guest => new SayLost(guest.Directory, lost.Text)));
        // What the guest's driver has not brought back yet, it will not bring back any more.
        foreach (var (other, error) in Of(device.Guest).SelectMany(guest => next.Guests[guest.Directory].Unsettled))
        {
            (next, var more) = next.OnLost(new DeviceOfGuest(device.Guest, other), error.Error, null, at, origin);
            effects = effects.AddRange(more);
        }
        return (next, effects);
    }

    /// <summary>More of what is being done already: it is handled when that is done.</summary>
    private Result OnLostAgain(DeviceOfGuest device, LostDevice lost, HostBdf? source) =>
        source is { } reported && lost.Awaits != Awaited.Nothing && !lost.Sources.Contains(reported)
            ? (this with { Lost = Lost.SetItem(device, lost with { Sources = lost.Sources.Add(reported) }) }, Nothing)
            : (this, Answer(source));

    /// <summary>A daemon before this one did not see it to the end.</summary>
    private Result OnLossFound(Loss loss, string? vm)
    {
        var device = new DeviceOfGuest(loss.Guest, loss.Device);
        var isOfGuest = loss.IsOf(vm);
        var next =
            this with { Lost = Lost.SetItem(device, new LostDevice(isOfGuest, Awaited.Quarantine, [], Text(loss))) };
        var attempt = new Try(
            loss, isOfGuest ? Remedy.Crash : Remedy.Intend,
            "an earlier daemon: put on record what was to be done about the loss");
        return (next, [new Hold(loss.Quarantined), attempt]);
    }

    private Result OnErrorSettled(DeviceOfGuest device) =>
        (WithoutError(device), [.. SourcesOf(device).Select(source => new Answered(source))]);

    private Result OnTried(Try attempt, string? fault)
    {
        var device = new DeviceOfGuest(attempt.Loss.Guest, attempt.Loss.Device);
        var said = new SayQuarantined(device.Device, attempt.Number, fault);
        if (fault is not null)
        {
            // The guest is crashed by now.
            var remedy = attempt.Remedy == Remedy.Crash ? Remedy.Intend : attempt.Remedy;
            return (this, [said, new TryLater(attempt with { Remedy = remedy, Number = attempt.Number + 1 })]);
        }
        // A detach was under way when the device was lost for good; the guest is still to be crashed.
        if (attempt.Remedy == Remedy.Quarantine && Lost.GetValueOrDefault(device) is { EndsGuest: true })
            return (this, [said]);
        return OnDone(device, Awaited.Quarantine, said);
    }

    private Result OnDone(DeviceOfGuest device, Awaited done, Say said)
    {
        if (!Lost.TryGetValue(device, out var lost) || !lost.Awaits.HasFlag(done)) return (this, [said]);
        lost = lost with { Awaits = lost.Awaits & ~done };
        if (lost.Awaits != Awaited.Nothing) return (this with { Lost = Lost.SetItem(device, lost) }, [said]);
        // After a detach the guest goes on, and can be given the device again once its quarantine is cleared.
        var next = this with
        {
            Lost = lost.EndsGuest ? Lost.SetItem(device, lost with { Sources = [] }) : Lost.Remove(device),
        };
        var (last, taken) = TakeBackUnclaimed(next);
        var answers = lost.Sources.Select(source => new Answered(source));
        return (last, [said, .. answers, .. lost.EndsGuest ? [new TellLost(device)] : Nothing, .. taken]);
    }

    // ---- Devices without a guest ------------------------------------------------------------------------------------

    /// <summary>
    /// Not before the errors are known that happened while no daemon ran, for the device may be lost, and then its
    /// quarantine comes first.
    /// </summary>
    private static Result TakeBackUnclaimed(GuestLedger ledger)
    {
        var effects = Nothing;
        if (ledger.PastErrors != PastErrors.Known) return (ledger, effects);
        foreach (var (device, life) in ledger.Unclaimed)
        {
            if (ledger.Lost.TryGetValue(device, out var lost) && lost.Awaits != Awaited.Nothing) continue;
            (ledger, var more) = life == GuestLife.Ended ? ledger.TakeBack(device) : ledger.Forget(device);
            effects = effects.AddRange(more);
        }
        return (ledger, effects);
    }

    private Result TakeBack(DeviceOfGuest device) => TakingBack.Contains(device)
        ? (this, Nothing)
        : (this with { TakingBack = TakingBack.Add(device) }, [new TakeBack(device)]);

    // xenstored has begun anew without what it had, and so has this daemon. Nobody announces that guest's end.
    private Result Forget(DeviceOfGuest device) => Forgotten.Contains(device.Guest)
        ? (this, [new LookLater()])
        : (this with { Forgotten = Forgotten.Add(device.Guest) }, [new SayForgotten(device), new LookLater()]);

    private static string Text(Loss loss) => $"{loss.Device}: {loss.Reason}";

    // ---- Parts ------------------------------------------------------------------------------------------------------

    private ImmutableArray<ServedGuest> Of(DomainId guest) => [.. Served.Where(one => one.Directory.Guest == guest)];

    private GuestLedger With(ServedGuest guest) => this with { Guests = Guests.SetItem(guest.Directory, guest) };

    private GuestLedger WithoutError(DeviceOfGuest device) => Of(device.Guest).Aggregate(this, (ledger, guest) =>
        ledger.With(guest with { Unsettled = guest.Unsettled.Remove(device.Device) }));

    private static IEnumerable<TellError> Tell(IEnumerable<ServedGuest> guests, AerMonitor.Act act) =>
        guests.Select(guest => new TellError(guest.Directory, act));

    // Two directories of one guest have the same errors.
    private ImmutableHashSet<HostBdf> SourcesOf(DeviceOfGuest device) =>
    [
        .. Of(device.Guest).Select(guest => guest.Unsettled.GetValueOrDefault(device.Device)?.Source).OfType<HostBdf>(),
    ];

    private IEnumerable<LedgerEffect> AnswersOf(ServedGuest guest) => Of(guest.Directory.Guest).Length > 1
        ? Nothing : guest.Unsettled.Values.SelectMany(error => Answer(error.Source));

    private static ImmutableArray<LedgerEffect> Answer(HostBdf? source) =>
        source is { } one ? [new Answered(one)] : Nothing;
}
