using System.Diagnostics;
using Akka.Actor;
using XenPciBack.Backend.Devices;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Status;

/// <summary>
/// Counts what one guest does, as long as it is served and whichever actor serves it. The data plane adds to plain numbers that only it writes;
/// whoever reads them may see one a moment late, and costs the data plane nothing.
/// </summary>
internal sealed class GuestMeter(DomainId domain, TimeProvider clock)
{
    // Replaced as a whole, so that readers need no lock.
    private Dictionary<HostBdf, DeviceMeter> _devices = [];

    private readonly LatencyBuckets[] _answering = [.. OperationCounts.Operations.Select(_ => new LatencyBuckets())];

    // Written by the thread that reads events, before the guest's actor is told; the port is masked until that has served the guest.
    private long _eventAt;

    // What the next operation is counted from: the event, or the answer before it.
    private long _since;

    private ActorCell? _actor;

    public DomainId Domain => domain;

    public DateTimeOffset Since { get; } = clock.GetUtcNow();

    public IReadOnlyCollection<DeviceMeter> Devices => Volatile.Read(ref _devices).Values;

    /// <summary>Operations at addresses where the guest has no device, and those of devices it has no more.</summary>
    public OperationCounts Elsewhere { get; } = new();

    /// <summary>From event to answer, or from one answer to the next where requests are served in a row; in the order of <see cref="OperationCounts.Operations"/>.</summary>
    public IReadOnlyList<LatencyBuckets> Answering => _answering;

    /// <summary>From event to the guest's actor.</summary>
    public LatencyBuckets Dispatching { get; } = new();

    /// <summary>Messages that wait for the guest's actor.</summary>
    public int MailboxDepth => Volatile.Read(ref _actor)?.NumberOfMessages ?? 0;

    // ---- The guest's actor --------------------------------------------------------------------------------------------------

    /// <summary>Another actor serves the guest from now on; what the one before has counted stays.</summary>
    public void ServedBy(IActorContext actor) => Volatile.Write(ref _actor, actor as ActorCell);

    public DeviceMeter? Find(HostBdf device) => Volatile.Read(ref _devices).GetValueOrDefault(device);

    public DeviceMeter Give(AssignedDevice device)
    {
        var meter = new DeviceMeter(domain, device, Find(device.Bdf));
        Volatile.Write(ref _devices, new Dictionary<HostBdf, DeviceMeter>(_devices) { [device.Bdf] = meter });
        return meter;
    }

    public void Take(HostBdf device)
    {
        var left = new Dictionary<HostBdf, DeviceMeter>(_devices);
        if (!left.Remove(device, out var taken)) return;
        Elsewhere.Add(taken.Operations);
        Volatile.Write(ref _devices, left);
    }

    /// <summary>An event has been read; on the thread that did it.</summary>
    public void Arrived() => Volatile.Write(ref _eventAt, Stopwatch.GetTimestamp());

    /// <summary>The event has reached the guest's actor.</summary>
    public void Dispatched()
    {
        _since = Volatile.Read(ref _eventAt);
        Dispatching.Add(Stopwatch.GetTimestamp() - _since);
    }

    /// <param name="device">null: the guest has none there.</param>
    /// <param name="isLate">The guest had given up waiting, and did not get the answer.</param>
    public void Answered(DeviceMeter? device, PciOpCode code, PciOpError error, bool isLate)
    {
        var operation = OperationCounts.IndexOf(code);
        (device?.Operations ?? Elsewhere).Add(operation, error, isLate);
        var now = Stopwatch.GetTimestamp();
        _answering[operation].Add(now - _since);
        _since = now;
    }
}

/// <summary>Counts what becomes of one device of a guest, and knows what it is.</summary>
/// <param name="before">Of the same device, served by an actor that is no more.</param>
internal sealed class DeviceMeter(DomainId guest, AssignedDevice device, DeviceMeter? before)
{
    private readonly long[] _writes = before?._writes ?? new long[3];
    private int _kind, _vectors, _isRecovering;

    public HostBdf Device { get; } = device.Bdf;

    public ushort VendorId { get; } = device.Function.VendorId;

    public ushort DeviceId { get; } = device.Function.DeviceId;

    /// <summary>Class, subclass, programming interface.</summary>
    public uint ClassCode { get; } = device.ClassCode;

    /// <summary>It interrupts by its line unless it sends messages.</summary>
    public bool HasLine { get; } = device.HasLine;

    public OperationCounts Operations { get; } = before?.Operations ?? new OperationCounts();

    /// <summary>Whom to ask for the device's registers.</summary>
    public IActorRef Actor { get; set; } = ActorRefs.Nobody;

    /// <summary>What it is being asked now.</summary>
    public AccessInProgress Access { get; } = before?.Access ?? new AccessInProgress(guest, device.Bdf);

    public MessageKind Messages => (MessageKind)Volatile.Read(ref _kind);

    /// <summary>How many messages are on.</summary>
    public int Vectors => Volatile.Read(ref _vectors);

    /// <summary>Its guest's driver is being taken through an error.</summary>
    public bool IsRecovering
    {
        get => Volatile.Read(ref _isRecovering) != 0;
        set => Volatile.Write(ref _isRecovering, value ? 1 : 0);
    }

    /// <summary>Config writes answered with success.</summary>
    public long WritesOf(ConfigWriteFate fate) => Volatile.Read(ref _writes[(int)fate]);

    // ---- The device's actor -------------------------------------------------------------------------------------------------

    public void Wrote(ConfigWriteFate fate) => _writes[(int)fate]++;

    public void InterruptsBy(MessageInterrupts interrupts)
    {
        Volatile.Write(ref _vectors, interrupts.Vectors);
        Volatile.Write(ref _kind, (int)interrupts.InUse);
    }
}
