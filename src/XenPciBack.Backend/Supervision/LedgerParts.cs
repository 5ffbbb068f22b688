using System.Collections.Immutable;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using DeviceOfGuest = XenPciBack.Backend.BackendEvents.DeviceOfGuest;

namespace XenPciBack.Backend.Supervision;

/// <summary>A guest with a connection directory.</summary>
/// <param name="Vm">As for <see cref="Loss"/>.</param>
internal sealed record ServedGuest(BackendDirectory Directory, string? Vm)
{
    public static readonly ImmutableDictionary<HostBdf, AerMonitor.Act> NoErrors =
        ImmutableDictionary<HostBdf, AerMonitor.Act>.Empty;

    public GuestStage Stage { get; init; }

    /// <summary>Why its actor ends that has failed.</summary>
    public string? Fault { get; init; }

    /// <summary>When its actors failed.</summary>
    public ImmutableList<TimeSpan> Failures { get; init; } = [];

    /// <summary>Errors that its actor was told of and has not settled; the next actor is told of them again.</summary>
    public ImmutableDictionary<HostBdf, AerMonitor.Act> Unsettled { get; init; } = NoErrors;
}

internal enum GuestStage
{
    /// <summary>An actor serves it.</summary>
    Serving,

    /// <summary>Its actor ends, because the directory is gone.</summary>
    Finishing,

    /// <summary>Its actor ends, because what it has read is not so any more; another one reads it again.</summary>
    StartingOver,

    /// <summary>It is the kernel's, or its actors failed: not touched until the toolstack has removed the
    /// directory.</summary>
    LeftAlone,
}

/// <param name="EndsGuest">Its guest is crashed for it.</param>
/// <param name="Sources">
/// The functions whose errors have led to it, one for each act that is answered once nothing is awaited any more.
/// </param>
internal sealed record LostDevice(bool EndsGuest, Awaited Awaits, ImmutableArray<HostBdf> Sources, string Text);

/// <summary>What has to be done before the loss of a device cannot be forgotten any more.</summary>
[Flags]
internal enum Awaited
{
    Nothing = 0,
    Quarantine = 1,
    Detach = 2,
}

/// <summary>What is done about a lost device.</summary>
internal enum Remedy
{
    /// <summary>Its guest is crashed, and it goes into quarantine.</summary>
    Crash,

    /// <summary>The same, but for the crash, which is made for another device of the guest.</summary>
    Intend,

    /// <summary>It goes into quarantine, and its guest is left as it is.</summary>
    Quarantine,
}

/// <summary>
/// Errors of each function that were told, and the acts that they have led to and that have no answer yet.
/// </summary>
internal sealed record OpenErrors
{
    public static readonly OpenErrors None = new();

    private ImmutableDictionary<HostBdf, (int Errors, int Acts)> Of { get; init; } =
        ImmutableDictionary<HostBdf, (int Errors, int Acts)>.Empty;

    /// <summary>One more error of a function, which leads to so many acts.</summary>
    public OpenErrors Add(HostBdf source, int acts)
    {
        var (errors, open) = Of.GetValueOrDefault(source);
        return this with { Of = Of.SetItem(source, (errors + 1, open + acts)) };
    }

    /// <summary>One act has its answer.</summary>
    /// <returns>With the number of errors that are handled now: 0 as long as an act has no answer.</returns>
    public (OpenErrors Next, int Handled) Answer(HostBdf source)
    {
        var (errors, open) = Of[source];
        return open == 1
            ? (this with { Of = Of.Remove(source) }, errors)
            : (this with { Of = Of.SetItem(source, (errors, open - 1)) }, 0);
    }
}

internal enum DirectoryOwner
{
    Nobody,

    /// <summary>The kernel's backend serves it.</summary>
    Kernel,
}

/// <summary>What is known of a guest that has devices on record and no connection.</summary>
internal enum GuestLife
{
    Ended,

    /// <summary>It runs, and xenstored does not know it.</summary>
    Running,
}

/// <summary>The errors of devices that happened while no daemon ran.</summary>
internal enum PastErrors
{
    Unread,
    Known,
}

internal enum Role
{
    Serving,

    /// <summary>Another daemon serves the guests.</summary>
    Standby,
}

/// <summary>What can happen to a <see cref="GuestLedger"/>.</summary>
internal abstract record LedgerInput
{
    private LedgerInput() { }

    /// <summary>A connection directory that the ledger may not know yet.</summary>
    public sealed record FoundDirectory(BackendDirectory Directory, string? Vm, DirectoryOwner Owner);

    public sealed record Listed(
        ImmutableArray<FoundDirectory> Found, ImmutableDictionary<DeviceOfGuest, GuestLife> Unclaimed) : LedgerInput
    {
        public static readonly ImmutableDictionary<DeviceOfGuest, GuestLife> NoneUnclaimed =
            ImmutableDictionary<DeviceOfGuest, GuestLife>.Empty;
    }

    /// <summary>A loss was found on record, which a daemon before this one did not see to the end.</summary>
    /// <param name="Vm">What the domain with the guest's id says now.</param>
    public sealed record LossFound(Loss Loss, string? Vm) : LedgerInput;

    /// <summary>The actor of a guest is about to end.</summary>
    /// <param name="Stage">How: <see cref="GuestStage.Serving"/> if it has failed.</param>
    public sealed record ActorEnds(BackendDirectory Directory, GuestStage Stage, string? Fault = null) : LedgerInput;

    public sealed record ActorEnded(BackendDirectory Directory, TimeSpan At) : LedgerInput;

    /// <summary>The monitor was told of an error, which leads to so many acts.</summary>
    public sealed record ErrorMet(HostBdf Source, int Acts) : LedgerInput;

    /// <param name="Origin">Who tells of it, for the report.</param>
    public sealed record DeviceError(AerMonitor.Act Act, DateTimeOffset At, string Origin) : LedgerInput;

    /// <summary>A guest's actor says that a device cannot be used any more.</summary>
    public sealed record DeviceLost(DeviceOfGuest Device, string Reason, DateTimeOffset At, string Origin)
        : LedgerInput;

    /// <summary>What the guest's actor was told of the device needs nothing more.</summary>
    public sealed record ErrorSettled(DeviceOfGuest Device) : LedgerInput;

    /// <summary>The last step of a <see cref="CrashSequence"/>.</summary>
    /// <param name="Fault">Why the quarantine is not on record; null: it is.</param>
    public sealed record Tried(LedgerEffect.Try Attempt, string? Fault) : LedgerInput;

    /// <summary>The toolstack has taken the device from its guest, or cannot.</summary>
    public sealed record DetachEnded(DeviceOfGuest Device, string? Fault) : LedgerInput;

    /// <summary>The monitor has told of all errors that happened while no daemon ran.</summary>
    public sealed record ErrorsKnown : LedgerInput;

    /// <summary>A device of a guest is on record, and no actor has it open.</summary>
    public sealed record DeviceClosed(DeviceOfGuest Device) : LedgerInput;

    public sealed record TakenBack(DeviceOfGuest Device, DeviceActor.Released? Released, string? Fault) : LedgerInput;

    /// <summary>This daemon stood by, and it is its turn.</summary>
    public sealed record TookOver : LedgerInput;
}

/// <summary>What the supervisor does for a <see cref="GuestLedger"/>.</summary>
internal abstract record LedgerEffect
{
    private LedgerEffect() { }

    /// <summary>Starts the actor of a guest.</summary>
    public sealed record Serve(
        BackendDirectory Directory, ImmutableHashSet<HostBdf> Lost, ImmutableArray<AerMonitor.Act> Errors)
        : LedgerEffect;

    public sealed record TellError(BackendDirectory Directory, AerMonitor.Act Act) : LedgerEffect;

    /// <summary>Keeps a device from every guest.</summary>
    public sealed record Hold(QuarantinedDevice Device) : LedgerEffect;

    /// <summary>Begins a <see cref="CrashSequence"/>; answered by <see cref="LedgerInput.Tried"/>.</summary>
    /// <param name="Origin">Who has found the loss, for the report.</param>
    /// <param name="Number">Counted from 1.</param>
    public sealed record Try(Loss Loss, Remedy Remedy, string Origin, int Number = 1) : LedgerEffect;

    /// <summary>The same after a pause.</summary>
    public sealed record TryLater(Try Attempt) : LedgerEffect;

    /// <summary>Writes the loss into the guest's directory.</summary>
    public sealed record SayLost(BackendDirectory Directory, string Text) : LedgerEffect;

    /// <summary>Tells the actors of the guest: it is crashed, and its device in quarantine.</summary>
    public sealed record TellLost(DeviceOfGuest Device) : LedgerEffect;

    /// <summary>The toolstack takes the device away, with the guest's help, as for <c>xl pci-detach</c>.</summary>
    public sealed record Detach(DeviceOfGuest Device) : LedgerEffect;

    /// <summary>An act that an error of this function has led to was done. The ledger's own: it counts them.</summary>
    public sealed record Answered(HostBdf Source) : LedgerEffect;

    /// <summary>Tells the feed that so many errors of this function were acted on.</summary>
    public sealed record ErrorsHandled(HostBdf Source, int Errors) : LedgerEffect;

    /// <summary>Gives back what a guest had that nobody serves any more.</summary>
    public sealed record TakeBack(DeviceOfGuest Device) : LedgerEffect;

    /// <summary>Lists the directories again.</summary>
    public sealed record Look : LedgerEffect;

    /// <summary>The same after a pause.</summary>
    public sealed record LookLater : LedgerEffect;

    /// <summary>Tells the log and whoever watches the backend.</summary>
    public abstract record Say : LedgerEffect;

    public sealed record SayLeftToKernel(BackendDirectory Directory) : Say;
    public sealed record SayReplaced(BackendDirectory Directory, string Fault) : Say;
    public sealed record SayAbandoned(BackendDirectory Directory, string Fault) : Say;
    public sealed record SayGone(BackendDirectory Directory) : Say;
    public sealed record SayQuarantined(HostBdf Device, int Tries, string? Fault) : Say;
    public sealed record SayDetached(DeviceOfGuest Device, string? Fault) : Say;
    public sealed record SayForgotten(DeviceOfGuest Device) : Say;
    public sealed record SayTakenBack(DeviceOfGuest Device, DeviceActor.Released? Released, string? Fault) : Say;
}
