using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;
using static XenPciBack.Protocol.Xenbus.ConnectionEffect;
using static XenPciBack.Protocol.Xenbus.ConnectionInput;
using Result = (XenPciBack.Protocol.Xenbus.GuestConnection Next, System.Collections.Immutable.ImmutableArray<XenPciBack.Protocol.Xenbus.ConnectionEffect> Effects);

namespace XenPciBack.Protocol.Xenbus;

/// <summary>
/// One guest's connection, from the moment libxl creates the backend directory until it is gone:
/// <code>
///   (new) --frontend named--> InitWait --devices exported--> Initialised --frontend Initialised--> Connected
///   Connected --toolstack and frontend Reconfiguring: devices added and removed--> Reconfigured
///   (the same without the frontend, if it stays silent)      Reconfigured --frontend Connected--> Connected
///   any --frontend Closing--> Closing      any --frontend Closed--> Closed      any --error--> error node, Closing
///   (but for a device refused to a guest that runs: error node, and it goes on with what it has)
///   any --frontend gone, or Closed and not online--> every device released
///   Closed --frontend back, or Closed for a while--> Initialised, with the devices it had
///   any --guest ended--> Connected, for the toolstack alone: libxl touches no device of a backend in another state
/// </code>
/// It is level-triggered: each time something has changed, both directories are read whole, and <see cref="Step"/> compares
/// them with what has been done. Nothing depends on seeing every single change. While effects are being performed no
/// <see cref="Observed"/> may be given; after a step that did anything the directories are read again.
/// </summary>
/// <remarks>Behaviour: Linux drivers/xen/xen-pciback/xenbus.c; the differences are in src/DEVIATIONS.md.</remarks>
public sealed record GuestConnection
{
    private static readonly ImmutableArray<ConnectionEffect> Nothing = [];

    /// <summary>What vdev-N says of a device that was refused: an address at which no guest has anything.</summary>
    private const string Nowhere = "ffff:ff:1f.07";

    private readonly Topologies _topologies;

    public GuestConnection(DomainId guest, Topologies topologies) => (Guest, _topologies, Slots) = (guest, topologies, VirtualSlots.Empty(topologies.Usual));

    public DomainId Guest { get; }

    /// <summary>The state we wrote last; <see cref="XenbusState.Unknown"/> before the first and after the guest is gone.</summary>
    public XenbusState State { get; private init; }

    public VirtualSlots Slots { get; private init; }

    /// <summary>The page is mapped and the port bound.</summary>
    public bool IsConnected { get; private init; }

    // What root-N and root_num say. A root stays when its devices go, as in the kernel.
    private ImmutableArray<PciRoot> PublishedRoots { get; init; } = [];

    // Devices being opened, and the state to write once they all are.
    private ImmutableArray<Export> Opening { get; init; } = [];

    /// <summary>Devices are being opened; <see cref="Slots"/> is not what it is about to be.</summary>
    public bool IsOpening => !Opening.IsEmpty;

    private XenbusState AfterOpening { get; init; }

    // Page and port of a guest that an earlier daemon had connected; taken up again once its devices are open.
    private Connect? Adoption { get; init; }

    private string? Explained { get; init; }

    /// <summary>
    /// The toolstack wants devices changed and the frontend has not answered. If it stays silent for too long, say so with
    /// <see cref="ConnectionInput.FrontendSilent"/>: the guest may be dead, and libxl waits no longer than 10 s.
    /// </summary>
    public bool AwaitsFrontend { get; private init; }

    /// <summary>
    /// The frontend has closed and the toolstack has not: a driver may be bound to it again. If it stays Closed for a while, say so with
    /// <see cref="ConnectionInput.Reopen"/>: Linux's gives up at once where it finds a backend that is Closed, Mini-OS's waits until
    /// it has seen that.
    /// </summary>
    public bool AwaitsReopening { get; private init; }

    // Offered again to a frontend that is Closed.
    private bool IsReopened { get; init; }

    private bool IsGuestEnded { get; init; }

    // It stayed silent: the toolstack's change is carried out without it.
    private bool IsFrontendSilent { get; init; }

    /// <param name="Place">Where the guest already sees the device; null: wherever there is room.</param>
    private sealed record Export(int Index, HostBdf Device, VirtualBdf? Place, bool Permissive);

    public Result Step(ConnectionInput input) => input switch
    {
        Observed(null or { State: null }, _) => LetGo(),
        Observed({ } backend, var frontend) => Observe(backend, frontend),
        DeviceOpened(var device) => PlaceDevice(device),
        DeviceRefused(var device, var reason) => Refuse(device, Errnos.EINVAL, reason, []),
        Connected when State == XenbusState.Initialised =>
            (this with { IsConnected = true, IsReopened = false, State = XenbusState.Connected }, StateChange(XenbusState.Connected)),
        Connected => (this with { IsConnected = true }, Nothing),
        ConnectRefused(var errno, var reason) => Fail(errno, reason, isFrontends: true),
        FrontendSilent => (this with { IsFrontendSilent = AwaitsFrontend }, Nothing),
        ConnectionInput.Reopen => AwaitsReopening ? Reopen() : (this, Nothing),
        GuestEnded => (this with { IsGuestEnded = State != XenbusState.Unknown }, Nothing),
        _ => throw new ArgumentOutOfRangeException(nameof(input), input, "unknown input"),
    };

    private Result Observe(BackendNodes backend, FrontendNodes? frontend)
    {
        var node = XenbusStates.Parse(backend.State);
        if (State == XenbusState.Unknown && backend.GuestType == "hvm") return Explaining("its guest is HVM, and the device model drives the devices");
        if (State == XenbusState.Unknown)
            return node switch
            {
                XenbusState.Initialising => Begin(backend, frontend),
                XenbusState.Closed when MayReopen(backend, frontend) => Adopt(node, backend, frontend),
                XenbusState.Unknown or XenbusState.Closing or XenbusState.Closed => (this, Nothing),
                _ => Adopt(node, backend, frontend),
            };
        // The toolstack has made the directory anew: what we had is over.
        if (node == XenbusState.Initialising) return LetGo();

        return XenbusStates.Parse(frontend?.State) switch
        {
            XenbusState.Unknown => LetGo(StateChange(XenbusState.Closed)),
            _ when IsGuestEnded => FollowToolstack(node, backend, frontend!),
            XenbusState.Closing => Disconnect(State is XenbusState.Closed ? XenbusState.Closed : XenbusState.Closing),
            XenbusState.Closed when backend.Online != "1" => LetGo(StateChange(XenbusState.Closed)),
            XenbusState.Closed when !IsReopened => AwaitReopening(backend, frontend),
            var frontendState => Follow(node, backend, frontendState, frontend!),
        };
    }

    private Result Follow(XenbusState node, BackendNodes backend, XenbusState frontendState, FrontendNodes frontend) => State switch
    {
        XenbusState.InitWait => ExportAll(backend),
        XenbusState.Initialised when node == XenbusState.Initialised => ChangeDevices(backend, XenbusState.Initialised, frontend),
        XenbusState.Connected when node == XenbusState.Reconfiguring => frontendState == XenbusState.Reconfiguring || IsFrontendSilent
            ? (this with { AwaitsFrontend = false, IsFrontendSilent = false }).ChangeDevices(backend, XenbusState.Reconfigured, frontend)
            : (this with { AwaitsFrontend = true }, Nothing),
        XenbusState.Reconfigured when frontendState == XenbusState.Connected =>
            (this with { State = XenbusState.Connected }, StateChange(XenbusState.Connected)),
        XenbusState.Closed when AwaitsReopening => Reopen(),
        _ => (this, Nothing),
    };

    /// <summary>Nobody is left but the toolstack: libxl waits for Connected before and after each device it takes away.</summary>
    private Result FollowToolstack(XenbusState node, BackendNodes backend, FrontendNodes frontend)
    {
        if (backend.Online != "1") return LetGo(StateChange(XenbusState.Closed));
        if (State == XenbusState.Connected && node == XenbusState.Reconfiguring)
            return (this with { AwaitsFrontend = false, IsFrontendSilent = false }).ChangeDevices(backend, XenbusState.Reconfigured, frontend);
        return State == XenbusState.Connected ? (this, Nothing)
            : (this with { State = XenbusState.Connected, AwaitsReopening = false, IsReopened = false }, StateChange(XenbusState.Connected));
    }

    private Result AwaitReopening(BackendNodes backend, FrontendNodes? frontend)
    {
        var (next, effects) = Disconnect(XenbusState.Closed);
        return (next with { AwaitsReopening = MayReopen(backend, frontend) }, effects);
    }

    // With every device that the toolstack has given it, and none that was refused.
    private static bool MayReopen(BackendNodes backend, FrontendNodes? frontend) =>
        XenbusStates.Parse(frontend?.State) != XenbusState.Unknown && backend.Online == "1" && !backend.Devices.IsEmpty
        && backend.Devices.All(entry => XenbusStates.Parse(entry.State) == XenbusState.Initialised && entry.VirtualDevice is not null);

    private Result Reopen() =>
        (this with { State = XenbusState.Initialised, AwaitsReopening = false, IsReopened = true }, StateChange(XenbusState.Initialised));

    private Result Begin(BackendNodes backend, FrontendNodes? frontend)
    {
        if (string.IsNullOrEmpty(backend.Frontend)) return Explaining("there is no frontend node; expected the path of the guest's directory");
        if (frontend is null) return Explaining($"the frontend directory {backend.Frontend} does not exist");
        if (!DomainId.TryParse(backend.FrontendId, out var guest) || guest != Guest)
            return Fail(Errnos.EINVAL, $"frontend-id is {Quoted(backend.FrontendId)}; expected '{Guest}'");
        return (this with
        {
            State = XenbusState.InitWait, Explained = null, Slots = VirtualSlots.Empty(_topologies.Of(backend.GuestName)),
        }, StateChange(XenbusState.InitWait));
    }

    /// <summary>An earlier daemon has served this guest: go on where it stopped, without a change that the guest could see.</summary>
    private Result Adopt(XenbusState node, BackendNodes backend, FrontendNodes? frontend)
    {
        if (frontend is null) return (this, Nothing);
        if (node == XenbusState.InitWait)
            return (this with { State = XenbusState.InitWait, Slots = VirtualSlots.Empty(_topologies.Of(backend.GuestName)) }).ExportAll(backend);

        var exports = ImmutableArray.CreateBuilder<Export>();
        foreach (var entry in backend.Devices)
            if (IsWithGuest(node, XenbusStates.Parse(entry.State)) && HostBdf.TryParse(entry.Device, out var device)
                && VirtualBdf.TryParse(entry.VirtualDevice, out var place))
                exports.Add(new Export(entry.Index, device, place, entry.IsPermissive));

        var topology = exports.Count == 0 ? _topologies.Of(backend.GuestName)
            : exports.All(e => e.Place.ToString() == e.Device.ToString()) ? Topology.Passthrough : Topology.Vpci;
        var state = node == XenbusState.Reconfiguring ? XenbusState.Connected : node;
        var adopted = this with
        {
            State = state, AfterOpening = state, Opening = exports.ToImmutable(), Slots = VirtualSlots.Empty(topology),
            PublishedRoots = [.. backend.Roots.SelectMany(text => PciRoot.TryParse(text, out var root) ? [root] : Array.Empty<PciRoot>())],
        };
        if (state is XenbusState.Initialised or XenbusState.Closed) return adopted.OpenAll([]);
        return ReadHandshake(frontend, out var connect) is { } fault
            ? Fail(fault.Errno, fault.Text, isFrontends: true)
            : (adopted with { Adoption = connect }).OpenAll([]);
    }

    // One that is to be taken away is the guest's until that has been done.
    private static bool IsWithGuest(XenbusState connection, XenbusState device) =>
        device == XenbusState.Initialised || (device == XenbusState.Closing && connection == XenbusState.Reconfiguring);

    /// <summary>In InitWait every entry is exported, whatever its sub-state says.</summary>
    private Result ExportAll(BackendNodes backend)
    {
        if (backend.DeviceCount is null) return Fail(Errnos.ENOENT, "num_devs is missing");
        if (!int.TryParse(backend.DeviceCount, NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count > BackendNodes.MostDevices)
            return Fail(Errnos.ERANGE, $"num_devs is {Quoted(backend.DeviceCount)}; expected a number from 0 to {BackendNodes.MostDevices}");
        return ExportEntries(backend.Devices, XenbusState.Initialised, []);
    }

    /// <summary>Entries marked Initialising are added, entries marked Closing are taken away; without any, a waiting frontend is connected.</summary>
    private Result ChangeDevices(BackendNodes backend, XenbusState after, FrontendNodes frontend)
    {
        var slots = Slots;
        var effects = ImmutableArray.CreateBuilder<ConnectionEffect>();
        foreach (var entry in backend.Devices.Where(e => XenbusStates.Parse(e.State) == XenbusState.Closing))
        {
            if (entry.VirtualDevice == Nowhere) continue;
            if (entry.VirtualDevice is null) return Fail(Errnos.ENOENT, $"vdev-{entry.Index} of a device to be removed is missing");
            if (Find(slots, entry.VirtualDevice) is { } member)
            {
                slots = slots.Remove(member.Host);
                effects.Add(new ReleaseDevice(member.Host));
            }
            else if (State != XenbusState.Initialised)
            {
                effects.Add(new RecordError(Errnos.ENOENT, $"vdev-{entry.Index} is {Quoted(entry.VirtualDevice)}, which this guest does not have; nothing removed"));
            }
        }
        var additions = backend.Devices.Where(e => XenbusStates.Parse(e.State) == XenbusState.Initialising).ToImmutableArray();
        var changed = this with { Slots = slots };
        if (additions.IsEmpty && effects.Count == 0 && State == XenbusState.Initialised) return ConnectWhenReady(frontend);
        return changed.ExportEntries(additions, after, effects.ToImmutable());
    }

    private static SlotMember? Find(VirtualSlots slots, string virtualDevice)
    {
        if (!VirtualBdf.TryParse(virtualDevice, out var place)) return null;
        foreach (var member in slots.Members)
            if (member.Virtual == place)
                return member;
        return null;
    }

    private Result ExportEntries(ImmutableArray<DeviceNodes> entries, XenbusState after, ImmutableArray<ConnectionEffect> first)
    {
        var exports = ImmutableArray.CreateBuilder<Export>();
        foreach (var entry in entries)
        {
            if (HostBdf.TryParse(entry.Device, out var device))
            {
                exports.Add(new Export(entry.Index, device, Place: null, entry.IsPermissive));
                continue;
            }
            var (errno, fault) = entry.Device is null ? (Errnos.ENOENT, $"dev-{entry.Index} is missing")
                : (Errnos.EINVAL, $"dev-{entry.Index} is {Quoted(entry.Device)}; expected ssss:bb:dd.f in hexadecimal");
            if (after != XenbusState.Reconfigured) return Fail(errno, fault);
            first = first.AddRange(Refusal(entry.Index, errno, fault));
        }
        return (this with { Opening = exports.ToImmutable(), AfterOpening = after }).OpenAll(first);
    }

    private Result OpenAll(ImmutableArray<ConnectionEffect> first) => Opening.IsEmpty
        ? AllOpen(first)
        : (this, [.. first, .. Opening.Select(e => new OpenDevice(e.Device, e.Permissive) { IsTakenUp = e.Place is not null })]);

    private Result PlaceDevice(SlotCandidate device)
    {
        var export = Opening.FirstOrDefault(e => e.Device == device.Bdf);
        // An entry before this one has failed; nobody waits for this device any more.
        if (export is null) return (this, [new ReleaseDevice(device.Bdf)]);

        var next = this with { Opening = Opening.Remove(export) };
        var effects = Nothing;
        if (export.Place is { } known)
        {
            next = next with { Slots = Slots.Place(device, known) };
        }
        else
        {
            if (!Slots.TryAssign(device, out var place, out var slots))
                return Refuse(device.Bdf, Errnos.ENOMEM, $"no room for {device.Bdf}: all {VirtualSlots.SlotCount} slots of the virtual bus are taken", [new ReleaseDevice(device.Bdf)]);
            next = next with { Slots = slots };
            effects = [new WriteNodes([($"vdev-{export.Index}", place.ToNodeText()), ($"state-{export.Index}", XenbusState.Initialised.ToNodeText())])];
        }
        return next.Opening.IsEmpty ? next.AllOpen(effects) : (next, effects);
    }

    /// <summary>A guest that runs goes on with what it has; one that is being created does not get a part of what it was promised.</summary>
    private Result Refuse(HostBdf device, int errno, string reason, ImmutableArray<ConnectionEffect> first)
    {
        var export = Opening.FirstOrDefault(e => e.Device == device);
        if (AfterOpening != XenbusState.Reconfigured || export is null)
        {
            var failed = Fail(errno, reason);
            return (failed.Next, [.. first, .. failed.Effects]);
        }
        var next = this with { Opening = Opening.Remove(export) };
        first = first.AddRange(Refusal(export.Index, errno, reason));
        return next.Opening.IsEmpty ? next.AllOpen(first) : (next, first);
    }

    // Closed: a later change of the guest's devices does not try it again. When the toolstack strikes it off, Linux's frontend closes unless it finds an address.
    private static ImmutableArray<ConnectionEffect> Refusal(int index, int errno, string reason) =>
        [new RecordError(errno, reason), new WriteNodes([($"vdev-{index}", Nowhere), ($"state-{index}", XenbusState.Closed.ToNodeText())])];

    private Result AllOpen(ImmutableArray<ConnectionEffect> effects)
    {
        if (Adoption is { } connect) return (this with { Adoption = null }, effects.Add(connect));
        // The buses are published before the state that lets the frontend look at them.
        var unpublished = Slots.Roots.RemoveRange(PublishedRoots);
        var roots = PublishedRoots.AddRange(unpublished);
        if (!unpublished.IsEmpty)
            effects = effects.Add(new WriteNodes([.. unpublished.Select((root, i) => ($"root-{PublishedRoots.Length + i}", root.ToString())), ("root_num", $"{roots.Length}")]));
        var next = this with { PublishedRoots = roots };
        return AfterOpening == State ? (next, effects) : (next with { State = AfterOpening }, [.. effects, .. StateChange(AfterOpening)]);
    }

    private Result ConnectWhenReady(FrontendNodes frontend)
    {
        if (XenbusStates.Parse(frontend.State) != XenbusState.Initialised) return (this, Nothing);
        return ReadHandshake(frontend, out var connect) is { } fault ? Fail(fault.Errno, fault.Text, isFrontends: true) : (this, [connect]);
    }

    private static (int Errno, string Text)? ReadHandshake(FrontendNodes frontend, out Connect connect)
    {
        connect = new Connect(default, default);
        if (frontend.GrantReference is null || frontend.EventChannel is null)
            return (Errnos.ENOENT, $"the frontend's {(frontend.GrantReference is null ? "pci-op-ref" : "event-channel")} is missing");
        if (frontend.Magic != SharedPageLayout.Magic)
            return (Errnos.EFAULT, $"the frontend's magic is {Quoted(frontend.Magic)}; expected '{SharedPageLayout.Magic}'");
        if (!uint.TryParse(frontend.GrantReference, NumberStyles.None, CultureInfo.InvariantCulture, out var reference) || reference == 0)
            return (Errnos.EINVAL, $"the frontend's pci-op-ref is {Quoted(frontend.GrantReference)}; expected a grant reference, a number above 0");
        if (!uint.TryParse(frontend.EventChannel, NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
            return (Errnos.EINVAL, $"the frontend's event-channel is {Quoted(frontend.EventChannel)}; expected a port, a number above 0");
        connect = new Connect(new GrantReference(reference), new RemotePort(port));
        return null;
    }

    private Result Disconnect(XenbusState state)
    {
        var effects = Nothing;
        if (IsConnected) effects = effects.Add(new Disconnect());
        if (State != state) effects = effects.AddRange(StateChange(state));
        return (this with { IsConnected = false, IsReopened = false, AwaitsReopening = false, State = state }, effects);
    }

    private Result LetGo(params ImmutableArray<ConnectionEffect> last)
    {
        var effects = ImmutableArray.CreateBuilder<ConnectionEffect>();
        if (IsConnected) effects.Add(new Disconnect());
        effects.AddRange(Slots.Members.Select(m => new ReleaseDevice(m.Host)));
        if (State != XenbusState.Closed || effects.Count > 0) effects.AddRange(last);
        return (new GuestConnection(Guest, _topologies) { Explained = Explained }, effects.ToImmutable());
    }

    private Result Fail(int errno, string text, bool isFrontends = false) =>
        (this with { State = XenbusState.Closing, Opening = [], Adoption = null }, [new RecordError(errno, text) { IsFrontends = isFrontends }, .. StateChange(XenbusState.Closing)]);

    private Result Explaining(string text) =>
        text == Explained ? (this, Nothing) : (this with { Explained = text }, [new Explain(text)]);

    private static ImmutableArray<ConnectionEffect> StateChange(XenbusState state) => [new WriteNodes([("state", state.ToNodeText())])];

    /// <summary>A node's text for an error message: bounded, and without anything a terminal could act on.</summary>
    private static string Quoted(string? text)
    {
        if (text is null) return "missing";
        var shown = text.Length <= 64 ? text : text[..64] + "...";
        return $"'{string.Concat(shown.Select(c => c is >= ' ' and <= '~' ? c : '?'))}'";
    }
}
