using System.Collections.Immutable;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Faults;

/// <summary>The calls of a backend to its host that can be made to fail. In brackets: by what a fault can be confined.</summary>
public enum FaultPoint
{
    /// <summary>A read of config space (device, register).</summary>
    ConfigRead,

    /// <summary>A write to config space (device, register).</summary>
    ConfigWrite,

    /// <summary>Opening a function for a guest (device).</summary>
    DeviceOpen,

    /// <summary>Resetting a function (device).</summary>
    DeviceReset,

    /// <summary>Mapping a guest's page (guest).</summary>
    GrantMap,

    /// <summary>Binding a guest's port (guest).</summary>
    PortBind,

    /// <summary>Sending an event (guest).</summary>
    Notify,

    /// <summary>An event has been sent, and the backend has done nothing else yet (guest).</summary>
    Notified,

    /// <summary>An event reaches the backend (guest).</summary>
    Event,

    /// <summary>Unmasking a port (guest).</summary>
    Unmask,

    /// <summary>Mapping a message interrupt into a guest (guest, device).</summary>
    PirqMap,

    /// <summary>Unmapping one of them (guest, device).</summary>
    PirqUnmap,

    /// <summary>Making the record of a guest's device, or opening it (guest, device).</summary>
    DeviceRecord,

    /// <summary>Crashing a domain (guest).</summary>
    DomainCrash,

    /// <summary>Reading one of the records that outlive the daemon (device, if the record is about one).</summary>
    RecordRead,

    /// <summary>Writing one of them (device, if the record is about one).</summary>
    RecordWrite,

    /// <summary>Reading a record of what is to be done to a guest (guest, device).</summary>
    IntentRead,

    /// <summary>Writing or removing one of them (guest, device).</summary>
    IntentWrite,

    /// <summary>An answer of xenstored to a client of dom0 (guest, whose backend directory is asked about).</summary>
    StoreReply,

    /// <summary>Taking a device away through the toolstack (guest, device).</summary>
    DeviceDetach,

    /// <summary>Beginning to watch for errors of devices.</summary>
    ErrorFeed,

    /// <summary>Saying that errors of a function were acted on (device); one that fails is not said.</summary>
    ErrorHandled,
}

/// <summary>How a call fails.</summary>
public enum FaultKind
{
    /// <summary>As the call is documented to fail.</summary>
    Error,

    /// <summary>With an exception that nobody expects, as after a mistake in the code around it.</summary>
    Bug,

    /// <summary>It does not come back until the fault is disarmed or its time is up, and then succeeds.</summary>
    Stall,

    /// <summary>The process is killed before the call is made.</summary>
    Death,

    /// <summary>It says that it has succeeded and does nothing: a config write, a notification or an event.</summary>
    Lost,

    /// <summary>Nothing fails: see <see cref="FaultPoints.Watch"/>.</summary>
    None,
}

/// <summary>A fault that has been armed. Disposing disarms it; a call that stalls comes back.</summary>
public sealed class ArmedFault : IDisposable
{
    private readonly FaultPoints _points;
    private readonly ManualResetEventSlim _over = new();
    private int _met;
    private int _struck;

    internal ArmedFault(FaultPoints points) => _points = points;

    public required FaultPoint Point { get; init; }
    public required FaultKind Kind { get; init; }

    /// <summary>The guest whose calls are meant; null: anybody's.</summary>
    public DomainId? Guest { get; init; }

    /// <summary>The device whose calls are meant; null: any.</summary>
    public HostBdf? Device { get; init; }

    /// <summary>The daemon whose calls are meant; null: any.</summary>
    public DaemonProcess? Process { get; init; }

    /// <summary>The offset at which a config access is meant; null: any.</summary>
    public int? Register { get; init; }

    /// <summary>What runs before a call that is watched.</summary>
    public Action? OnCall { get; init; }

    /// <summary>The first call that fails, counted from 1.</summary>
    public int Nth { get; init; } = 1;

    /// <summary>How many calls fail from there on.</summary>
    public int Times { get; init; } = 1;

    /// <summary>What an <see cref="FaultKind.Error"/> says, a positive errno.</summary>
    public int Errno { get; init; } = Errnos.EIO;

    /// <summary>How long a <see cref="FaultKind.Stall"/> lasts at most.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How many calls it has struck so far, one that stalls included.</summary>
    public int Struck => Volatile.Read(ref _struck);

    public void Dispose()
    {
        _points.Disarm(this);
        _over.Set();
    }

    internal bool Concerns(FaultPoint point, DomainId? guest, HostBdf? device, int? register, DaemonProcess? process) =>
        point == Point && (Guest is null || Guest == guest) && (Device is null || Device == device)
        && (Register is null || Register == register) && (Process is null || Process == process);

    /// <returns>0: the call goes on.</returns>
    internal int Meet()
    {
        var call = Interlocked.Increment(ref _met);
        if (call < Nth || call >= (long)Nth + Times) return 0;
        if (call == (long)Nth + Times - 1) _points.Disarm(this);
        Interlocked.Increment(ref _struck);
        switch (Kind)
        {
            case FaultKind.Bug:
                throw new InjectedBugException(Point);
            case FaultKind.Stall:
                _over.Wait(Duration);
                return 0;
            case FaultKind.Death:
                return FaultPoints.Death;
            case FaultKind.Lost:
                return FaultPoints.Lost;
            case FaultKind.None:
                OnCall?.Invoke();
                return 0;
            default:
                return Errno;
        }
    }
}

/// <summary>What a call throws that has met a <see cref="FaultKind.Bug"/>.</summary>
public sealed class InjectedBugException(FaultPoint point) : Exception($"a bug was injected at {point}");

/// <summary>The faults that wait for their calls. Thread-safe.</summary>
public sealed class FaultPoints
{
    /// <summary>What <see cref="Meet"/> returns for <see cref="FaultKind.Death"/>.</summary>
    internal const int Death = -1;

    /// <summary>The same for <see cref="FaultKind.Lost"/>.</summary>
    internal const int Lost = -2;

    private ImmutableArray<ArmedFault> _armed = [];

    /// <summary>Lets calls fail from now on.</summary>
    /// <param name="nth">The first one that fails, counted from 1.</param>
    /// <param name="times">How many fail from there on.</param>
    /// <param name="errno">What an error says.</param>
    /// <param name="duration">How long a stall lasts at most; a minute, unless said.</param>
    /// <param name="process">The daemon that is meant; null: any.</param>
    /// <param name="register">The offset that is meant; null: any.</param>
    public ArmedFault Arm(
        FaultPoint point, FaultKind kind = FaultKind.Error, DomainId? guest = null, HostBdf? device = null, int nth = 1,
        int times = 1, int errno = Errnos.EIO, TimeSpan? duration = null, DaemonProcess? process = null, int? register = null) =>
        Add(new ArmedFault(this)
        {
            Point = point, Kind = kind, Guest = guest, Device = device, Register = register, Process = process,
            Nth = nth, Times = times, Errno = errno, Duration = duration ?? TimeSpan.FromMinutes(1),
        });

    /// <summary>Counts the calls from now on, as <see cref="ArmedFault.Struck"/>; none fails.</summary>
    /// <param name="onCall">What runs before each of them, on the thread that makes the call.</param>
    public ArmedFault Watch(
        FaultPoint point, DomainId? guest = null, HostBdf? device = null, int? register = null, Action? onCall = null) =>
        Add(new ArmedFault(this)
        {
            Point = point, Kind = FaultKind.None, Guest = guest, Device = device, Register = register,
            Times = int.MaxValue, OnCall = onCall,
        });

    private ArmedFault Add(ArmedFault fault)
    {
        ImmutableInterlocked.Update(ref _armed, armed => armed.Add(fault));
        return fault;
    }

    internal void Disarm(ArmedFault fault) => ImmutableInterlocked.Update(ref _armed, armed => armed.Remove(fault));

    /// <summary>A call is about to be made.</summary>
    /// <returns>0: it goes on; else the errno with which it fails.</returns>
    /// <exception cref="InjectedBugException">It fails like that.</exception>
    internal int Meet(
        FaultPoint point, DomainId? guest = null, HostBdf? device = null, int? register = null, DaemonProcess? process = null)
    {
        foreach (var fault in _armed)
            if (fault.Concerns(point, guest, device, register, process) && fault.Meet() is not 0 and var errno)
                return errno;
        return 0;
    }
}
