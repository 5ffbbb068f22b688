using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Guests;

// The data plane: an event, the request copied out of the page, the device's answer, published.
internal sealed partial class GuestActor
{
    private GuestPage? _page;
    private bool _disconnecting;
    private long _turnBegan;

    // What the guest was said to break the protocol by. What it publishes can be quoted there, so that there is no end to it.
    private const int MostAccusations = 10;
    private readonly HashSet<string> _accusations = [];

    // Of the device that has the request in hand; null if the guest has none there.
    private DeviceMeter? _asked;

    private void OnPortEvent()
    {
        if (_page is null || _disconnecting) return;
        _meter.Dispatched();
        if (_page.TakeAerVerdict() is { } verdict) OnVerdict(new RecoveryInput.Answered(verdict));
        _turnBegan = Environment.TickCount64;
        ServeOrUnmask(_page);
    }

    private void ServeOrUnmask(GuestPage page)
    {
        while (!_loop.IsTurnOver(_turnBegan) && page.TakeRequest() is { } request)
        {
            if (_connection.Slots.Find(request.Segment, request.Bus, request.DevFn) is { } bdf && _devices.TryGetValue(bdf, out var device))
            {
                _asked = _meter.Find(bdf);
                if (_trace.IsOn) device.Tell(new DeviceActor.TracedRequest(request, _trace.MustDescribe(bdf)));
                else device.Tell(request);
                return;
            }
            if (IsUnsure)
            {
                _heldBack = request;
                return;
            }
            Publish(page, new PciAnswer(PciOpError.DeviceNotFound, request.Value));
        }
        // A request still waiting has its event pending behind the mask, or its guest has yet to send it.
        page.Unmask();
    }

    private void OnAnswer(in PciAnswer answer, DeviceActor.TracedAnswer? traced = null)
    {
        if (_page is not { } page) return;
        if (_disconnecting)
        {
            page.Finish(answer);
            EndDisconnect(page);
            PerformEffects();
            return;
        }
        Publish(page, answer, traced);
        ServeOrUnmask(page);
    }

    // Each way once: a guest can repeat it without end.
    private void Accuse(string what)
    {
        if (_accusations.Count < MostAccusations && _accusations.Add(what)) Context.System.EventStream.Publish(new BackendEvents.GuestMisbehaved(_directory.Guest, what));
    }

    private void Publish(GuestPage page, in PciAnswer answer, DeviceActor.TracedAnswer? traced = null)
    {
        if (_trace.IsOn && page.InHand is { } request) _trace.Offer(request, answer, page.HeldFor, traced);
        var code = page.InHand!.Code;
        var isInTime = page.Answer(answer, _settings.GuestPatience);
        _meter.Answered(_asked, code, answer.Error, isLate: !isInTime);
        _asked = null;
        if (answer.Error == PciOpError.NotImplemented) Accuse("it asks for operations there are none of");
        else if (answer.Error == PciOpError.InvalidOffset) Accuse("it asks for registers there are none of");
        if (!isInTime)
            _log.Warning("An answer came after more than {Patience} s, and the guest had given up on the request; dropped", _settings.GuestPatience.TotalSeconds);
    }
}
