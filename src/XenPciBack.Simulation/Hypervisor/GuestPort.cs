using System.Threading.Channels;
using XenPciBack.Protocol;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// A guest's end of an event channel, allocated unbound for dom0. When dom0 unbinds, it is unbound again and can be bound
/// anew; when the guest closes it, it is gone.
/// </summary>
public sealed class GuestPort
{
    private readonly GuestPorts _ports;

    // The pending bit: any number of events before the guest looks are one.
    private readonly Channel<bool> _pending = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    internal GuestPort(GuestPorts ports, DomainId guest, RemotePort number) => (_ports, Guest, Number) = (ports, guest, number);

    public DomainId Guest { get; }

    /// <summary>What the guest publishes as <c>event-channel</c>.</summary>
    public RemotePort Number { get; }

    /// <summary>Sends one event to dom0; dropped silently while nobody has bound the port.</summary>
    public void Notify() => _ports.NotifyDom0(this);

    /// <summary>Waits for the next event; returns at once if one came since the last wait.</summary>
    /// <exception cref="OperationCanceledException">Cancelled first.</exception>
    public async ValueTask WaitAsync(CancellationToken ct) => await _pending.Reader.ReadAsync(ct).ConfigureAwait(false);

    /// <summary>Takes an event that came since the last wait.</summary>
    /// <returns>Whether there was one.</returns>
    public bool TryTake() => _pending.Reader.TryRead(out _);

    public void Close() => _ports.Close(this);

    internal void Raise() => _pending.Writer.TryWrite(true);
}
