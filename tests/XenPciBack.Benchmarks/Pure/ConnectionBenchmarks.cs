using System.Collections.Immutable;
using BenchmarkDotNet.Attributes;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>The connection of a guest with four devices: a step each time that its directories have changed.</summary>
public class ConnectionBenchmarks
{
    private const int Devices = 4;

    private static readonly DomainId Guest = new(5);
    private static readonly Topologies Topologies = new(Topology.Vpci);
    private static readonly ImmutableArray<SlotCandidate> Opened =
        [.. Enumerable.Range(0, Devices).Select(slot => new SlotCandidate(new HostBdf(0, 3, slot, 0), false, []))];

    private static readonly SlotCandidate Fifth = new(new HostBdf(0, 4, 0, 0), false, []);

    private static readonly ConnectionInput.Observed
        Created = new(Backend(XenbusState.Initialising), Frontend(XenbusState.Initialising)),
        Waiting = new(Backend(XenbusState.InitWait), Frontend(XenbusState.Initialising)),
        Published = new(Backend(XenbusState.Initialised), Frontend(XenbusState.Initialised)),
        Unchanged = new(Backend(XenbusState.Connected), Frontend(XenbusState.Connected));

    private readonly GuestConnection _connected;

    public ConnectionBenchmarks()
    {
        _connected = Connect();
        if (!_connected.IsConnected || _connected.Slots.Members.Length != Devices)
            throw new InvalidOperationException(
                $"the guest is {_connected.State}; expected Connected with {Devices} devices");
    }

    /// <summary>From the toolstack's first write to Connected, eight steps.</summary>
    [Benchmark]
    public GuestConnection Connect()
    {
        var connection = new GuestConnection(Guest, Topologies).Step(Created).Next.Step(Waiting).Next;
        foreach (var device in Opened) connection = connection.Step(new ConnectionInput.DeviceOpened(device)).Next;
        return connection.Step(Published).Next.Step(new ConnectionInput.Connected()).Next;
    }

    /// <summary>A change that asks for nothing, which most are.</summary>
    [Benchmark]
    public GuestConnection StepUnchanged() => _connected.Step(Unchanged).Next;

    [Benchmark]
    public bool AssignSlot() => _connected.Slots.TryAssign(Fifth, out _, out _);

    private static BackendNodes Backend(XenbusState state)
    {
        // What the backend writes when it has exported the devices.
        var (exported, place) = state is XenbusState.Initialising or XenbusState.InitWait
            ? ("1", (Func<int, string?>)(_ => null)) : ("3", slot => new VirtualBdf(0, 0, slot, 0).ToNodeText());
        return new BackendNodes("/local/domain/5/device/pci/0", "5", "1", state.ToNodeText(), $"{Devices}",
            [.. Enumerable.Range(0, Devices)
                .Select(slot => new DeviceNodes(slot, $"0000:03:{slot:x2}.0", exported, place(slot)))]);
    }

    private static FrontendNodes Frontend(XenbusState state) => new(state.ToNodeText(), "8", "11", "7");
}
