using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Simulation.Pci;

/// <summary>Errors of the simulated host's functions, on demand.</summary>
public sealed class SimulatedAerFeed
{
    private readonly Lock _lock = new();
    private ImmutableArray<Action<AerReport>> _watchers = [];

    // The host counts errors until somebody has handled them, and keeps the rest until somebody listens.
    private readonly List<AerReport> _kept = [];

    /// <summary>How many listen now.</summary>
    public int Watchers
    {
        get
        {
            lock (_lock) return _watchers.Length;
        }
    }

    /// <summary>The functions of the errors that nobody has handled.</summary>
    public IReadOnlyList<HostBdf> Unhandled
    {
        get
        {
            lock (_lock) return [.. _kept.OfType<AerReport.Met>().Select(met => met.Error.Device)];
        }
    }

    /// <summary>The errors as one daemon's process is told of them.</summary>
    public IAerFeed OfOneDaemon() => new Process(this);

    /// <summary>A function reports an error, as the kernel's trace would tell it.</summary>
    public void Inject(HostBdf device, AerSeverity severity, uint status) =>
        Tell(new AerReport.Met(new AerError(device, severity, status, [], AerSource.Trace)));

    public void Tell(AerReport report)
    {
        lock (_lock)
        {
            if (IsKept(report) || _watchers.IsEmpty) _kept.Add(report);
            foreach (var watcher in _watchers) watcher(report);
        }
    }

    // One without an error is a test's.
    private static bool IsKept(AerReport report) => report is AerReport.Met { Error: not null };

    private sealed class Process(SimulatedAerFeed host) : IAerFeed
    {
        // Two errors may be equal.
        private readonly HashSet<AerReport> _told = new(ReferenceEqualityComparer.Instance);

        public IDisposable Watch(Action<AerReport> tell)
        {
            lock (host._lock)
            {
                host._watchers = host._watchers.Add(Tell);
                foreach (var report in host._kept.Where(report => !_told.Contains(report))) Tell(report);
                host._kept.RemoveAll(report => !IsKept(report));
                tell(AerReport.PastErrorsTold.Instance);
            }
            return new Watching(() =>
            {
                lock (host._lock) host._watchers = host._watchers.Remove(Tell);
            });

            void Tell(AerReport report)
            {
                _told.Add(report);
                tell(report);
            }
        }

        public void Handled(HostBdf device, int errors)
        {
            lock (host._lock)
            {
                var handled =
                    host._kept.Where(report => _told.Contains(report) && ((AerReport.Met)report).Error.Device == device)
                    .Take(errors).ToHashSet(ReferenceEqualityComparer.Instance);
                host._kept.RemoveAll(handled.Contains);
                _told.RemoveWhere(handled.Contains);
            }
        }
    }

    private sealed class Watching(Action end) : IDisposable
    {
        public void Dispose() => end();
    }
}
