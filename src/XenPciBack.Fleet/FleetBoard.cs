using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet;

/// <summary>Finds a device's config space as its guest sees it, wherever the host is.</summary>
/// <returns>null if there is no such guest or device, or its host does not answer.</returns>
public delegate Task<ConfigView?> ConfigViewSource(string host, DomainId guest, HostBdf device, CancellationToken stop);

/// <summary>
/// The fleet as this node knows it: what a monitor is told by its cluster, or the one host of a daemon. It outlives the node's membership.
/// Written by one, read by the dashboard and the command line. Thread-safe.
/// </summary>
public sealed class FleetBoard
{
    private readonly Lock _lock = new();
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private FleetState _state = FleetState.Empty;

    public FleetState State
    {
        get
        {
            lock (_lock) return _state;
        }
    }

    public void Update(Func<FleetState, FleetState> change)
    {
        TaskCompletionSource told;
        lock (_lock)
        {
            var next = change(_state);
            if (ReferenceEquals(next, _state)) return;
            _state = next;
            (told, _changed) = (_changed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        }
        told.SetResult();
    }

    /// <summary>Waits until the state is another than the one that was seen; what lies between is not told one by one.</summary>
    public async Task<FleetState> NextAsync(FleetState seen, CancellationToken stop)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (!ReferenceEquals(seen, _state)) return _state;
                changed = _changed.Task;
            }
            await changed.WaitAsync(stop).ConfigureAwait(false);
        }
    }
}
