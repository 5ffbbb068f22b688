using Akka.Actor;
using Akka.Event;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Actors;

// The data plane: an event, the request copied out of the page, the device's answer, published.
internal sealed partial class GuestActor
{
    private GuestPage? _page;
    private bool _disconnecting;
    private int _servedInTurn;

    private void OnPortEvent()
    {
        if (_page is null || _disconnecting) return;
        if (_page.TakeAerVerdict() is { } verdict) OnVerdict(new RecoveryInput.Answered(verdict));
        _servedInTurn = 0;
        ServeOrUnmask(_page);
    }

    private void ServeOrUnmask(GuestPage page)
    {
        while (_servedInTurn++ < _settings.RequestsPerTurn && page.TakeRequest() is { } request)
        {
            if (_connection.Slots.Find(request.Segment, request.Bus, request.DevFn) is { } bdf && _devices.TryGetValue(bdf, out var device))
            {
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

    private void Publish(GuestPage page, in PciAnswer answer, DeviceActor.TracedAnswer? traced = null)
    {
        if (_trace.IsOn && page.InHand is { } request) _trace.Offer(request, answer, page.HeldFor, traced);
        if (!page.Answer(answer, _settings.GuestPatience))
            _log.Warning("An answer came after more than {Patience} s, and the guest had given up on the request; dropped", _settings.GuestPatience.TotalSeconds);
    }
}
