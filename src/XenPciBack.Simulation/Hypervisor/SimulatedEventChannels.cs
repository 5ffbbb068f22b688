using System.Collections.Concurrent;
using XenPciBack.Host;

namespace XenPciBack.Simulation.Hypervisor;

/// <summary>
/// One dom0 process's event channels. Disposing unbinds every port, as the end of the process would; the guests' ends
/// can then be bound again. Thread-safe.
/// </summary>
public sealed class SimulatedEventChannels(GuestPorts ports) : IEventChannels
{
    private readonly ConcurrentDictionary<SimulatedEventHandle, bool> _handles = new();
    private volatile bool _disposed;

    /// <summary>Handles opened and not disposed.</summary>
    public int OpenHandles => _handles.Count;

    public IEventHandle Open()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var handle = new SimulatedEventHandle(ports, closed => _handles.TryRemove(closed, out _));
        _handles[handle] = true;
        if (_disposed) handle.Dispose();
        return handle;
    }

    public void PreferThisThread()
    {
        // Nothing here waits for it alone.
    }

    public void Dispose()
    {
        _disposed = true;
        foreach (var handle in _handles.Keys) handle.Dispose();
    }
}
