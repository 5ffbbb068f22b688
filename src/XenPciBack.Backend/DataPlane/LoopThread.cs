namespace XenPciBack.Backend.DataPlane;

/// <summary>One thread of an event loop, and what it is doing.</summary>
internal sealed class LoopThread
{
    // .NET wants 128 KiB of stack free before it prints a record, and a thread that serves guests touches little of it.
    private const int StackBytes = 512 * 1024;

    private const int Running = 0, InAccess = 1, Replaced = 2;

    [ThreadStatic] private static LoopThread? _current;

    private readonly SemaphoreSlim _resumed = new(0);
    private int _state;
    private AccessInProgress? _access;
    private long _accessBegan;
    private long _accesses;

    // The beginning of the last access that was reported as slow.
    private long _reported;

    public LoopThread(EventLoop loop) => Loop = loop;

    /// <summary>The calling thread; null if it is none of a loop.</summary>
    public static LoopThread? Current => _current;

    public EventLoop Loop { get; }

    /// <summary>It leads its loop. Only the thread itself may ask; others would get yesterday's answer.</summary>
    public bool IsLeader { get; private set; }

    /// <summary>
    /// It may touch what belongs to its loop's leader. Not inside a device access: another thread may lead by then.
    /// </summary>
    public bool OwnsLoop => IsLeader && _accessBegan == 0;

    /// <summary>
    /// When the device access began that the thread is inside of, by <see cref="Environment.TickCount64"/>; 0 if it is
    /// inside none.
    /// </summary>
    public long AccessBegan => Volatile.Read(ref _accessBegan);

    /// <summary>How many accesses it has begun.</summary>
    public long Accesses => Volatile.Read(ref _accesses);

    public void Start() =>
        new Thread(Run, StackBytes) { IsBackground = true, Name = $"pci-loop-{Loop.Number}" }.Start();

    /// <summary>The thread begins a device access, which may take as long as the device likes.</summary>
    public void BeginAccess(AccessInProgress access)
    {
        var now = Environment.TickCount64;
        access.Begin(now);
        _access = access;
        Volatile.Write(ref _accesses, _accesses + 1);
        Volatile.Write(ref _accessBegan, now);
        if (!IsLeader) return;
        // Whoever watches accesses either sees this one before going to sleep, or is woken.
        Interlocked.Exchange(ref _state, InAccess);
        Loop.OnAccess();
    }

    /// <summary>
    /// The access is over. If another thread leads the loop by now, this one owns nothing of it any more.
    /// </summary>
    public void EndAccess()
    {
        var (access, began) = (_access!, _accessBegan);
        Volatile.Write(ref _accessBegan, 0);
        access.End();
        if (Volatile.Read(ref _reported) == began) Loop.OnSlowAccessEnded(access, Environment.TickCount64 - began);
        if (IsLeader && Interlocked.CompareExchange(ref _state, Running, InAccess) == Replaced) IsLeader = false;
    }

    /// <summary>Called by the thread that watches accesses, once an access is slow.</summary>
    /// <returns>The access, once; null if it was reported before.</returns>
    public AccessInProgress? TakeSlow(long began)
    {
        if (_reported == began) return null;
        Volatile.Write(ref _reported, began);
        return _access;
    }

    /// <summary>Called by whoever has another thread lead.</summary>
    /// <returns>false: the access has ended meanwhile.</returns>
    public bool TryReplace() => Interlocked.CompareExchange(ref _state, Replaced, InAccess) == InAccess;

    /// <summary>A thread that was replaced leads once more.</summary>
    public void LeadAgain()
    {
        Volatile.Write(ref _state, Running);
        Resume();
    }

    /// <summary>Lets a thread that was kept go on.</summary>
    public void Resume() => _resumed.Release();

    public void Retire() => IsLeader = false;

    private void Run()
    {
        _current = this;
        Loop.Prefer();
        do
        {
            IsLeader = true;
            Loop.Run(this);
            if (!Loop.TryKeep(this)) return;
            _resumed.Wait();
        }
        while (Volatile.Read(ref _state) == Running);
    }
}
