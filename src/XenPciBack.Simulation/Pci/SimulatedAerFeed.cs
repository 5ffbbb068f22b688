using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Simulation.Pci;

/// <summary>Errors of the simulated host's functions, on demand.</summary>
public sealed class SimulatedAerFeed : IAerFeed
{
    private readonly Lock _lock = new();
    private ImmutableArray<Action<AerReport>> _watchers = [];

    // The host counts on while nobody listens.
    private readonly List<AerReport> _untold = [];

    /// <summary>How many listen now.</summary>
    public int Watchers
    {
        get
        {
            lock (_lock) return _watchers.Length;
        }
    }

    public IDisposable Watch(Action<AerReport> tell)
    {
        lock (_lock)
        {
            _watchers = _watchers.Add(tell);
            foreach (var report in _untold) tell(report);
            _untold.Clear();
        }
        return new Watcher(() =>
        {
            lock (_lock) _watchers = _watchers.Remove(tell);
        });
    }

    /// <summary>A function reports an error, as the kernel's trace would tell it.</summary>
    public void Inject(HostBdf device, AerSeverity severity, uint status) => Tell(new AerReport.Met(new AerError(device, severity, status, [], AerSource.Trace)));

    public void Tell(AerReport report)
    {
        lock (_lock)
        {
            foreach (var watcher in _watchers) watcher(report);
            if (_watchers.IsEmpty) _untold.Add(report);
        }
    }

    private sealed class Watcher(Action end) : IDisposable
    {
        public void Dispose() => end();
    }
}
