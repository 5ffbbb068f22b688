using XenPciBack.Protocol;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Guests;

// What a guest's actor is told, and what it tells its parent.
internal sealed partial class GuestActor
{
    /// <summary>Told to the parent before the actor ends in good order: the directory is gone and everything of it was released.</summary>
    public sealed record Finished(BackendDirectory Directory);

    /// <summary>Told to the parent before the actor ends: what it has read is not so any more, and another one is to read it anew.</summary>
    public sealed record StartsOver(BackendDirectory Directory);

    /// <summary>The guest runs no more, and its toolstack is about to take it down.</summary>
    public sealed record Ended
    {
        public static readonly Ended Instance = new();
    }

    /// <summary>To the parent: what it has told of this device needs nothing more.</summary>
    public sealed record ErrorSettled(DomainId Guest, HostBdf Device);

    /// <summary>To the parent: the device cannot be used any more, and its guest must not run on with it.</summary>
    public sealed record DeviceLost(DomainId Guest, HostBdf Device, string Reason);

    /// <summary>The guest was crashed, and this device of it is in quarantine: nothing is served any more, and the
    /// device is released.</summary>
    public sealed record GuestLost(HostBdf Device);

    /// <summary>Publish the state and the devices as after a change, for somebody who is new.</summary>
    public sealed record AnnounceAgain
    {
        public static readonly AnnounceAgain Instance = new();
    }

    private sealed record Changed
    {
        public static readonly Changed Instance = new();
    }

    private sealed record PortEvent
    {
        public static readonly PortEvent Instance = new();
    }

    private sealed record ConnectAgain
    {
        public static readonly ConnectAgain Instance = new();
    }

    private sealed record FrontendIsSilent
    {
        public static readonly FrontendIsSilent Instance = new();
    }

    private sealed record ClosedForLong
    {
        public static readonly ClosedForLong Instance = new();
    }

    private sealed record NoVerdict
    {
        public static readonly NoVerdict Instance = new();
    }

    private sealed record LookAgain
    {
        public static readonly LookAgain Instance = new();
    }

    private sealed record LookedAgain(ConnectionInput.Observed? Observed);
    private sealed record EffectDone;
    private sealed record StoreFailed(Exception Cause);
}
