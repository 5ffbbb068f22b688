using System.Collections.Immutable;
using System.Threading.Channels;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Tracing;

/// <summary>One request of a guest and all that became of it.</summary>
/// <param name="At">When its answer was published.</param>
/// <param name="Took">From the request's copy to its answer.</param>
/// <param name="Device">The device it was aimed at; null if the guest has none at that address.</param>
/// <param name="Register">The name of the register a config access begins in; empty where none is known.</param>
/// <param name="Fields">What became of each field of a config access, in the order of the rules.</param>
/// <param name="Accesses">What was done to the device, the trace's own looks at it included.</param>
/// <param name="Description">The device as it was before this operation, the first one of it in this trace; then null.</param>
public sealed record TracedOperation(
    DateTimeOffset At, TimeSpan Took, DomainId Guest, HostBdf? Device, PciRequest Request, PciAnswer Answer, string Register, ImmutableArray<FieldOutcome> Fields,
    ImmutableArray<DeviceAccess> Accesses, DeviceDescription? Description);

/// <summary>
/// Takes the operations of one viewer, as many as the viewer can follow: who is too slow misses some, and no guest waits.
/// Thread-safe.
/// </summary>
/// <param name="guest">Only this guest's; null: every guest's.</param>
/// <param name="device">Only this device's; null: every device's.</param>
/// <param name="capacity">Operations that may wait for the viewer.</param>
public sealed class TraceSink(DomainId? guest, HostBdf? device, int capacity = 8192)
{
    private readonly Channel<TracedOperation> _waiting = Channel.CreateBounded<TracedOperation>(new BoundedChannelOptions(capacity) { SingleReader = true });
    private long _missed;

    public ChannelReader<TracedOperation> Operations => _waiting.Reader;

    /// <summary>Operations that found no room since the last call.</summary>
    public long TakeMissed() => Interlocked.Exchange(ref _missed, 0);

    internal bool Wants(DomainId domain) => guest is null || guest == domain;

    internal void Offer(TracedOperation operation)
    {
        if (device is not null && operation.Device != device) return;
        if (!_waiting.Writer.TryWrite(operation)) Interlocked.Increment(ref _missed);
    }
}

/// <summary>Messages to the backend (<see cref="PciBackend"/>) that switch the trace of operations. Without a sink nothing is traced and nothing is spent on it.</summary>
public static class TraceMessages
{
    public sealed record Start(TraceSink Sink);

    public sealed record Stop(TraceSink Sink);

    /// <summary>From the supervisor to each guest: the sinks there are now.</summary>
    internal sealed record SinksAre(ImmutableArray<TraceSink> Sinks);
}
