using System.Globalization;
using XenPciBack.Protocol.XenStoreWire;
using static XenPciBack.Protocol.XenStoreWire.XenStoreErrorName;

namespace XenPciBack.Simulation.XenStored;

// Which domains there are.
internal sealed partial class XenStoredCore
{
    // DOMID_FIRST_RESERVED, xen/include/public/xen.h.
    private const int FirstReservedDomid = 0x7ff0;

    private readonly HashSet<int> _introduced = [0];
    private readonly Dictionary<int, int> _targets = [];

    /// <summary>A domain was introduced, here or over the wire.</summary>
    public event Action<int>? Introduced;

    /// <summary>A domain was released, here or over the wire; its connections must end.</summary>
    public event Action<int>? Released;

    public IReadOnlyCollection<int> IntroducedDomains => _introduced;

    public bool IsIntroduced(int domid) => _introduced.Contains(domid);

    public void Introduce(int domid)
    {
        if (!_introduced.Add(domid))
            return; // the toolstack may repeat it, to set up the connection again; nobody is told
        Introduced?.Invoke(domid);
        FireSpecial(XenStorePath.IntroduceDomain);
    }

    public void Release(int domid)
    {
        if (!_introduced.Remove(domid))
            return;
        _targets.Remove(domid);
        _tree = _tree.WithoutDomain(domid);
        Released?.Invoke(domid);
        FireSpecial(XenStorePath.ReleaseDomain);
    }

    /// <summary>A domain shut down or crashed but is not released yet; the event is the same.</summary>
    public void AnnounceShutdown() => FireSpecial(XenStorePath.ReleaseDomain);

    private StoreReply Introduce(StoreClient client, ReadOnlySpan<byte> payload)
    {
        if (!client.IsPrivileged)
            return EACCES;
        if (!XenStorePayload.TrySplit(payload, out var arguments) || arguments.Count < 3
            || !TryDomid(arguments[0], out var domid))
            return EINVAL;
        Introduce(domid);
        return StoreReply.Ok;
    }

    private StoreReply Release(StoreClient client, ReadOnlySpan<byte> payload)
    {
        if (!client.IsPrivileged)
            return EACCES;
        if (!TryTakeDomid(ref payload, out var domid) || domid == 0)
            return EINVAL;
        if (!IsIntroduced(domid))
            return ENOENT;
        Release(domid);
        return StoreReply.Ok;
    }

    private StoreReply Resume(StoreClient client, ReadOnlySpan<byte> payload) =>
        !client.IsPrivileged ? EACCES
        : !TryTakeDomid(ref payload, out var domid) ? EINVAL
        : IsIntroduced(domid) ? StoreReply.Ok : ENOENT;

    private StoreReply SetTarget(StoreClient client, ReadOnlySpan<byte> payload)
    {
        if (!client.IsPrivileged)
            return EACCES;
        if (!TryTakeDomid(ref payload, out var domid) || !TryTakeDomid(ref payload, out var target))
            return EINVAL;
        if (!IsIntroduced(domid) || !IsIntroduced(target))
            return ENOENT;
        _targets[domid] = target;
        return StoreReply.Ok;
    }

    private static StoreReply GetDomainPath(ReadOnlySpan<byte> payload) =>
        TryTakeDomid(ref payload, out var domid) ? StoreReply.OfStrings(XenStorePath.DomainHome(domid).Text) : EINVAL;

    private StoreReply IsDomainIntroduced(ReadOnlySpan<byte> payload) =>
        TryTakeDomid(ref payload, out var domid) ? StoreReply.OfStrings(IsIntroduced(domid) ? "T" : "F") : EINVAL;

    private static bool TryTakeDomid(ref ReadOnlySpan<byte> payload, out int domid)
    {
        domid = 0;
        return XenStorePayload.TryTakeString(ref payload, out var text) && TryDomid(text, out domid);
    }

    private static bool TryDomid(string text, out int domid) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out domid) && domid < FirstReservedDomid;
}
