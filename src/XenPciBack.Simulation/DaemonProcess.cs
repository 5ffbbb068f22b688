using System.Collections.Concurrent;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Faults;

namespace XenPciBack.Simulation;

/// <summary>
/// One daemon's process on the simulated host. When it is killed, nothing that it has begun goes on: each of its calls to the host throws,
/// and what the kernel takes from a process is taken, its ports, mappings and open files.
/// </summary>
public sealed class DaemonProcess
{
    private readonly FaultPoints _faults;
    private readonly XenHost _parts;
    private readonly Lock _alive = new();
    private readonly ConcurrentDictionary<IDisposable, bool> _open = new();
    private readonly CancellationTokenSource _killed;
    private bool _isKilled;

    internal DaemonProcess(XenHost parts, FaultPoints faults, CancellationTokenSource killed) => (_parts, _faults, _killed, Host) = (parts, faults, killed, parts.Of(this));

    /// <summary>The host as the process sees it. Disposing it closes the libraries, and leaves the rest to those who opened it.</summary>
    public XenHost Host { get; }

    /// <summary>Cancelled at the process's end, for connections that end with it.</summary>
    public CancellationToken Killed => _killed.Token;

    /// <summary>As SIGKILL does.</summary>
    public void Kill()
    {
        lock (_alive)
        {
            if (_isKilled) return;
            _isKilled = true;
        }
        _killed.Cancel();
        _parts.Dispose();
        foreach (var open in _open.Keys) open.Dispose();
    }

    /// <summary>The process comes to one of its fault points.</summary>
    /// <returns>0, or the errno with which the call is to fail.</returns>
    internal int Meet(FaultPoint point, DomainId? guest = null, HostBdf? device = null, int? register = null)
    {
        ThrowIfKilled();
        var errno = _faults.Meet(point, guest, device, register, this);
        if (errno == FaultPoints.Death) Kill();
        ThrowIfKilled();
        return errno;
    }

    /// <summary>While this is held the process is not killed: what is done takes effect.</summary>
    /// <exception cref="ProcessKilledException">It has been.</exception>
    internal Lock.Scope Alive()
    {
        var scope = _alive.EnterScope();
        if (!_isKilled) return scope;
        scope.Dispose();
        throw new ProcessKilledException();
    }

    internal void ThrowIfKilled()
    {
        if (Volatile.Read(ref _isKilled)) throw new ProcessKilledException();
    }

    /// <summary>What the kernel closes if the process does not live to.</summary>
    internal void Opened(IDisposable what) => _open[what] = true;

    internal void Closed(IDisposable what) => _open.TryRemove(what, out _);
}

/// <summary>What the calls of a process throw that has been killed: in truth it would not have made them.</summary>
public sealed class ProcessKilledException() : Exception("the simulated process has been killed");
