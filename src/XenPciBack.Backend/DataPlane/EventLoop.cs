using System.Collections.Concurrent;
using Akka.Dispatch;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// Serves guests: waits for their events with one system call, and runs the mailboxes of their actors and of their
/// devices. One thread leads the loop at a time, and nobody else touches what the loop owns.
/// </summary>
/// <remarks>
/// A device access cannot be cancelled. If the leader is inside one for too long, <see cref="EventLoops"/> has another
/// thread lead the loop; the thread that was replaced ends its run, in which it is nothing but one more thread, and
/// waits until it is needed again.
/// </remarks>
internal sealed class EventLoop
{
    // Between two looks at the events, where no clock ends the turn before.
    private const int MostRuns = 64;

    private readonly EventLoops _loops;
    private readonly ConcurrentQueue<IRunnable> _posted = new();
    private readonly ConcurrentStack<LoopThread> _spares = new();
    private readonly SemaphoreSlim _signal = new(0);
    private int _isAsleep;
    private volatile bool _isEnding, _hasEnded;
    private int _guests;

    // What follows belongs to the leader.
    private readonly Queue<IRunnable> _ready = new();
    private readonly Dictionary<LocalPort, BoundPort> _ports = [];
    private readonly LocalPort[] _read = new LocalPort[MostRuns];
    private IEventHandle? _handle;

    public EventLoop(EventLoops loops, int number)
    {
        (_loops, Number) = (loops, number);
        Dispatcher = new LoopDispatcher(this);
        Lead(new LoopThread(this));
    }

    public int Number { get; }

    public LoopDispatcher Dispatcher { get; }

    /// <summary>
    /// How many guests it serves. Changed and read under the lock of <see cref="EventLoops"/> alone, but for <see
    /// cref="IsShared"/>.
    /// </summary>
    public int Guests
    {
        get => Volatile.Read(ref _guests);
        set => Volatile.Write(ref _guests, value);
    }

    public bool IsShared => Guests > 1;

    /// <summary>
    /// How long a guest, and a device access, may take before the other guests of the loop get their turn.
    /// </summary>
    public bool IsTurnOver(long began) => IsShared && Environment.TickCount64 - began >= _loops.TurnMilliseconds;

    // ---- Called on any thread ---------------------------------------------------------------------------------------

    /// <summary>Has the loop run something, after what is ready. It is woken if it sleeps.</summary>
    public void Execute(IRunnable run)
    {
        if (LoopThread.Current is { OwnsLoop: true } thread && thread.Loop == this) _ready.Enqueue(run);
        else Post(run);
    }

    /// <summary>The guest leaves, and its place is free for another one.</summary>
    public void Leave() => _loops.Leave(this);

    /// <summary>Ends the loop's threads once they have run what was posted before.</summary>
    public void End()
    {
        _isEnding = true;
        Wake();
        while (_spares.TryPop(out var spare)) spare.Resume();
    }

    private void Post(IRunnable run)
    {
        _posted.Enqueue(run);
        // Either the leader sees what was posted before it sleeps, or its sleep is seen here.
        Interlocked.MemoryBarrier();
        if (_hasEnded) ThreadPool.UnsafeQueueUserWorkItem(static loop => loop.RunPosted(), this, preferLocal: false);
        else if (Volatile.Read(ref _isAsleep) == 1 && Interlocked.Exchange(ref _isAsleep, 0) == 1) Wake();
    }

    private void Wake()
    {
        if (_handle is { } handle) handle.Wake();
        else _signal.Release();
    }

    private void RunPosted()
    {
        while (_posted.TryDequeue(out var run)) run.Run();
    }

    // ---- Called by the loop's leader --------------------------------------------------------------------------------

    /// <summary>Binds a guest's port to the loop's handle, which is opened for the first one.</summary>
    /// <param name="onEvent">Called by the leader for each event, the first one at once; the port is masked
    /// then.</param>
    /// <exception cref="HostCallException">The handle cannot be opened, or the port not bound.</exception>
    public BoundPort Bind(DomainId guest, RemotePort port, Action onEvent)
    {
        var handle = _handle ??= _loops.OpenEvents();
        try
        {
            var bound = new BoundPort(handle, handle.Bind(guest, port), onEvent, OnUnbound);
            return _ports[bound.Port] = bound;
        }
        finally
        {
            CloseUnlessUsed();
        }
    }

    private void OnUnbound(LocalPort port)
    {
        _ports.Remove(port);
        CloseUnlessUsed();
    }

    // The handle has ports of its own, and a loop without guests leaves nothing behind.
    private void CloseUnlessUsed()
    {
        if (_ports.Count > 0) return;
        _handle?.Dispose();
        _handle = null;
    }

    internal void Prefer() => _loops.PreferThisThread();

    internal void OnAccess() => _loops.OnAccess();

    internal void OnSlowAccessEnded(AccessInProgress access, long milliseconds) =>
        _loops.OnSlowAccessEnded(access, milliseconds);

    private void Lead(LoopThread thread)
    {
        _loops.Watch(thread);
        thread.Start();
    }

    /// <summary>Leads the loop until the loop ends or another thread has taken its place.</summary>
    internal void Run(LoopThread leader)
    {
        while (leader.IsLeader)
        {
            RunReady(leader);
            if (!leader.IsLeader) return;
            if (_isEnding && _ready.Count == 0 && _posted.IsEmpty)
            {
                End(leader);
                return;
            }
            Deliver(wait: _ready.Count == 0 && _posted.IsEmpty && !_isEnding);
        }
    }

    private void RunReady(LoopThread leader)
    {
        while (_posted.TryDequeue(out var posted)) _ready.Enqueue(posted);
        var began = Environment.TickCount64;
        for (var runs = 0; runs < MostRuns; runs++)
        {
            if (!_ready.TryDequeue(out var run) && !_posted.TryDequeue(out run)) return;
            run.Run();
            if (!leader.IsLeader || IsTurnOver(began)) return;
        }
    }

    private void Deliver(bool wait)
    {
        if (wait)
        {
            Interlocked.Exchange(ref _isAsleep, 1);
            wait = _posted.IsEmpty && !_isEnding;
        }
        var read = ReadEvents(wait);
        Volatile.Write(ref _isAsleep, 0);
        if (read < 0) RecoverFromOverflow();
        for (var i = 0; i < read; i++)
            if (_ports.TryGetValue(_read[i], out var port))
                port.OnEvent();
    }

    private int ReadEvents(bool wait)
    {
        if (_handle is null)
        {
            if (wait) _signal.Wait();
            return 0;
        }
        try
        {
            return _handle.Read(_read, wait);
        }
        catch (ObjectDisposedException)
        {
            // The process lets go of its host. Whatever waits here still runs.
            _handle = null;
            _ports.Clear();
            return 0;
        }
    }

    /// <summary>Any port may have lost its event, and is masked if it has: each guest's page is looked at.</summary>
    private void RecoverFromOverflow()
    {
        _handle!.Reset();
        foreach (var port in _ports.Values.ToList())
        {
            _handle.Unmask(port.Port);
            port.OnEvent();
        }
    }

    private void End(LoopThread leader)
    {
        leader.Retire();
        _hasEnded = true;
        Interlocked.MemoryBarrier();
        RunPosted();
        _handle?.Dispose();
        while (_spares.TryPop(out var spare)) spare.Resume();
    }

    // ---- Another leader ---------------------------------------------------------------------------------------------

    /// <summary>Has another thread lead the loop, if this one is still inside its device access.</summary>
    internal void Replace(LoopThread stuck)
    {
        if (!stuck.TryReplace()) return;
        if (_spares.TryPop(out var spare)) spare.LeadAgain();
        else Lead(new LoopThread(this));
    }

    /// <summary>Keeps a thread that was replaced for the next time.</summary>
    /// <returns>false: the loop has ended, and the thread is to end as well.</returns>
    internal bool TryKeep(LoopThread thread)
    {
        if (_isEnding) return false;
        _spares.Push(thread);
        if (_isEnding && _spares.TryPop(out var spare)) spare.Resume();
        return true;
    }
}
