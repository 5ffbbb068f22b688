using XenPciBack.Backend.DataPlane;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Guests;

/// <summary>
/// The page and the event channel a guest shares with us, and the request in hand. The port stays masked from the event until
/// the page has been looked at again after the answer: mask, answer, notify, look again, unmask.
/// </summary>
internal sealed class GuestPage
{
    private readonly IGrantMapping _mapping;
    private readonly BoundPort _port;
    private readonly TimeProvider _time;
    private PciRequest? _inHand;
    private long _takenAt;
    private bool _aerAsked;

    private GuestPage(IGrantMapping mapping, BoundPort port, TimeProvider time) =>
        (_mapping, _port, _time) = (mapping, port, time);

    /// <summary>Binds the port, which the hypervisor allows one process at a time, and only then maps the page.</summary>
    /// <exception cref="HostCallException">Either is refused.</exception>
    public static GuestPage Connect(Func<BoundPort> bind, Func<IGrantMapping> map, TimeProvider time)
    {
        var port = bind();
        try
        {
            return new GuestPage(map(), port, time);
        }
        catch
        {
            port.Dispose();
            throw;
        }
    }

    /// <summary>The request that was taken and has no answer yet.</summary>
    public PciRequest? InHand => _inHand;

    /// <summary>How long ago <see cref="InHand"/> was taken.</summary>
    public TimeSpan HeldFor => _time.GetElapsedTime(_takenAt);

    public bool IsBusy => _inHand is not null;

    /// <summary>Takes the request that waits in the page, if there is one and no other is in hand.</summary>
    public PciRequest? TakeRequest()
    {
        var page = new SharedPageView(_mapping.Page);
        if (IsBusy || !page.HasRequest) return null;
        _takenAt = _time.GetTimestamp();
        return _inHand = page.CopyRequest();
    }

    /// <summary>Publishes the answer to the request in hand and notifies the guest.</summary>
    /// <param name="patience">After this long the guest may have given up and posted another request, which must not get this answer.</param>
    /// <returns>false if the guest had given up, and nothing was published.</returns>
    public bool Answer(in PciAnswer answer, TimeSpan patience)
    {
        var request = _inHand ?? throw new InvalidOperationException("no request is in hand");
        _inHand = null;
        var page = new SharedPageView(_mapping.Page);
        var late = _time.GetElapsedTime(_takenAt) >= patience;
        if (late && !page.StillHolds(request)) return false;
        page.Complete(answer);
        _port.Notify();
        return true;
    }

    /// <summary>The guest can be asked about errors.</summary>
    public bool TakesAer => new SharedPageView(_mapping.Page).TakesAer;

    /// <summary>Asks the guest about a device; requests of its own go on meanwhile.</summary>
    public void AskAer(AerStep step, AerChannel channel, VirtualBdf device)
    {
        new SharedPageView(_mapping.Page).PostAer(step, channel, device);
        _aerAsked = true;
        _port.Notify();
    }

    /// <returns>The verdict, once; null while there is none.</returns>
    public int? TakeAerVerdict()
    {
        var page = new SharedPageView(_mapping.Page);
        if (!_aerAsked || page.HasAerRequest) return null;
        _aerAsked = false;
        return page.ReadAerVerdict();
    }

    public void WithdrawAer()
    {
        _aerAsked = false;
        new SharedPageView(_mapping.Page).WithdrawAer();
    }

    /// <summary>Lets the guest look at the page again.</summary>
    public void Notify() => _port.Notify();

    public void Unmask() => _port.Unmask();

    /// <summary>No event arrives and no notification leaves any more. The page stays mapped for the request in hand.</summary>
    public void Unbind() => _port.Dispose();

    /// <summary>Finishes the request in hand after <see cref="Unbind"/>, without a notification.</summary>
    public void Finish(in PciAnswer answer)
    {
        _inHand = null;
        new SharedPageView(_mapping.Page).Complete(answer);
    }

    public void Unmap() => _mapping.Dispose();
}
