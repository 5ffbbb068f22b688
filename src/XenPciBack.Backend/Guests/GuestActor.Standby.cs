using Akka.Actor;
using XenPciBack.Backend.Devices;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Backend.Guests;

// While another daemon serves the guest: everything that takes time and changes nothing is done, and the rest waits for this one's turn.
internal sealed partial class GuestActor
{
    // What the other daemon and the toolstack change comes in bursts.
    private static readonly TimeSpan StandbyQuiet = TimeSpan.FromSeconds(1);

    private bool _standsBy;

    // The directories from which everything has been prepared.
    private ConnectionInput.Observed? _preparedFor;
    private bool _isLooking;

    // A request for a device that the guest may have been given meanwhile.
    private PciRequest? _heldBack;

    private bool IsPrepared => _standsBy && _preparedFor is not null;

    /// <summary>The guest is served by what was prepared, and whether that is still so is not known yet.</summary>
    private bool IsUnsure => !_standsBy && _preparedFor is not null;

    /// <summary>Opening a device that the guest has reads registers, and changes nothing.</summary>
    private static bool IsPreparation(ConnectionEffect effect) => effect is ConnectionEffect.OpenDevice { IsTakenUp: true };

    private void OnTurn()
    {
        if (!_standsBy) return;
        _standsBy = false;
        if (_effects.TryPeek(out var next) && next is not ConnectionEffect.Connect)
        {
            // Nothing was connected, so nobody is in a hurry.
            StartOver();
            return;
        }
        foreach (var device in _devices.Values) device.Tell(DeviceActor.Begin.Instance);
        // Whether the other daemon has changed something to the last is found out when the guest is served.
        _again = true;
        if (_effects.Count > 0) PerformEffects();
        else if (!_inPass) OnChanged();
    }

    private void OnLookAgain()
    {
        if (!IsPrepared)
        {
            OnChanged();
            return;
        }
        if (_isLooking) return;
        _isLooking = true;
        _store.ReadAsync().PipeTo(Self, success: observed => new LookedAgain(observed), failure: _ => new LookedAgain(null));
    }

    private void OnLookedAgain(ConnectionInput.Observed? observed)
    {
        _isLooking = false;
        if (!IsPrepared) Read();
        else if (observed is null) Timers.StartSingleTimer(nameof(LookAgain), LookAgain.Instance, StandbyQuiet);
        else if (!observed.Equals(_preparedFor) && !IsForgotten(observed)) StartOver();
    }

    /// <returns>false: it was not as prepared, and this actor is ending.</returns>
    private bool Verify(ConnectionInput.Observed observed)
    {
        if (!IsUnsure) return true;
        if (!observed.Equals(_preparedFor))
        {
            // What is held back stays in the page for the next one.
            StartOver();
            return false;
        }
        Settle();
        return true;
    }

    /// <summary>What was prepared is what the guest has.</summary>
    private void Settle()
    {
        _preparedFor = null;
        if (_heldBack is { } request && _page is { } page)
        {
            Publish(page, new PciAnswer(PciOpError.DeviceNotFound, request.Value));
            ServeOrUnmask(page);
        }
        _heldBack = null;
    }

    private void StartOver()
    {
        Context.Parent.Tell(new StartsOver(_directory));
        Context.Stop(Self);
    }
}
