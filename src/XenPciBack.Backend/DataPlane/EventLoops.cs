using System.Collections.Concurrent;
using Akka.Actor;
using Akka.Dispatch;
using Akka.Event;
using XenPciBack.Host;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// The event loops of one backend. Each guest has a loop of its own up to a number of loops; further guests share. A
/// thread of its own watches the device accesses and has another thread lead a loop whose leader has been inside one
/// for too long.
/// </summary>
public sealed class EventLoops : IDisposable
{
    /// <summary>How long an access may keep the other guests of its loop.</summary>
    internal const int SharedPatience = 10;

    // A loop with one guest: whoever wants something of it but the device waits no longer than this.
    private const int Patience = 1000;

    private static readonly long SlowMilliseconds = (long)AccessInProgress.Slow.TotalMilliseconds;

    // The thread that watches sleeps after as many looks without an access.
    private const int QuietLooks = 20;

    private readonly IEventChannels _channels;
    private readonly int _most;
    private readonly Lock _lock = new();
    private readonly List<EventLoop> _loops = [];
    private readonly ConcurrentDictionary<LoopThread, bool> _threads = new();
    private readonly SemaphoreSlim _wanted = new(0);
    private readonly Thread _watcher;
    private ActorSystem? _system;
    private int _isWatcherAsleep;
    private volatile bool _disposed;

    /// <param name="most">How many loops there are at most.</param>
    /// <param name="turn">How long one guest of a loop is served before the others.</param>
    public EventLoops(IEventChannels channels, int most, TimeSpan turn)
    {
        (_channels, _most, TurnMilliseconds) = (channels, most, (long)turn.TotalMilliseconds);
        _watcher = new Thread(WatchAccesses) { IsBackground = true, Name = "pci-loop-watch" };
        _watcher.Start();
    }

    public static EventLoops Of(XenHost host, BackendSettings settings) =>
        new(host.EventChannels, settings.Loops, settings.Turn);

    internal long TurnMilliseconds { get; }

    /// <summary>The actor system whose guests are served; before the first guest.</summary>
    internal void Serve(ActorSystem system) => _system = system;

    /// <summary>
    /// Takes a place for a guest on the loop with the fewest. <see cref="EventLoop.Leave"/> gives it back.
    /// </summary>
    internal EventLoop Enter()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var loop = _loops.MinBy(loop => loop.Guests);
            if (loop is not { Guests: 0 } && (loop is null || _loops.Count < _most)) loop = Add();
            loop.Guests++;
            return loop;
        }
    }

    private EventLoop Add()
    {
        var loop = new EventLoop(this, _loops.Count);
        loop.Dispatcher.RegisterWith(_system!);
        _loops.Add(loop);
        return loop;
    }

    internal void Leave(EventLoop loop)
    {
        lock (_lock) loop.Guests--;
    }

    /// <summary>
    /// Completes once every loop has run something that was posted to it now; never, if one of them hangs.
    /// </summary>
    public Task RoundTripAsync()
    {
        lock (_lock) return Task.WhenAll(_loops.Select(loop =>
        {
            var round = new Round();
            loop.Execute(round);
            return round.Task;
        }));
    }

    /// <summary>Ends every loop; its actors have to have ended before.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            foreach (var loop in _loops) loop.End();
        }
        _wanted.Release();
    }

    internal IEventHandle OpenEvents() => _channels.Open();

    internal void PreferThisThread() => _channels.PreferThisThread();

    // ---- Accesses that take long ------------------------------------------------------------------------------------

    internal void Watch(LoopThread thread) => _threads[thread] = true;

    /// <summary>A thread has begun an access: somebody has to see whether it ends.</summary>
    internal void OnAccess()
    {
        if (Volatile.Read(ref _isWatcherAsleep) == 1 && Interlocked.Exchange(ref _isWatcherAsleep, 0) == 1)
            _wanted.Release();
    }

    private void WatchAccesses()
    {
        long seen = 0;
        for (var quiet = 0; !_disposed; quiet++)
        {
            var (accesses, isInside, isShared) = Look();
            if (isInside || accesses != seen) quiet = 0;
            seen = accesses;
            if (quiet < QuietLooks)
            {
                _wanted.Wait(isShared ? SharedPatience / 2 : Patience / 4);
                continue;
            }
            Interlocked.Exchange(ref _isWatcherAsleep, 1);
            (accesses, isInside, _) = Look();
            if (accesses == seen && !isInside) _wanted.Wait();
            Volatile.Write(ref _isWatcherAsleep, 0);
            quiet = 0;
        }
    }

    private (long Accesses, bool IsInside, bool IsShared) Look()
    {
        var (now, accesses, isInside, isShared) = (Environment.TickCount64, 0L, false, false);
        foreach (var (thread, _) in _threads)
        {
            accesses += thread.Accesses;
            isShared |= thread.Loop.IsShared;
            if (thread.AccessBegan is not (not 0 and var began)) continue;
            isInside = true;
            if (now - began >= (thread.Loop.IsShared ? SharedPatience : Patience)) thread.Loop.Replace(thread);
            if (now - began >= SlowMilliseconds && thread.TakeSlow(began) is { } slow) Report(slow, now - began);
        }
        return (accesses, isInside, isShared);
    }

    private void Report(AccessInProgress access, long milliseconds)
    {
        if (!IsTold(access.CountSlow())) return;
        var (what, lasted) = (access.What, TimeSpan.FromMilliseconds(milliseconds));
        LogOf(access).Warning(
            "The device has not answered {Access} for {Seconds:0.0} s; its guest waits, no other does",
            what, lasted.TotalSeconds);
        _system!.EventStream.Publish(new BackendEvents.DeviceSlow(access.Guest, access.Device, what, lasted));
    }

    internal void OnSlowAccessEnded(AccessInProgress access, long milliseconds)
    {
        if (IsTold(access.SlowOnes))
            LogOf(access).Warning(
                "The device has answered {Access} after {Seconds:0.0} s", access.What, milliseconds / 1000.0);
    }

    // The first slow access of a device, the tenth, the hundredth: its firmware, and so its guest, decides how many
    // there are.
    private static bool IsTold(long number)
    {
        while (number >= 10 && number % 10 == 0) number /= 10;
        return number == 1;
    }

    private ILoggingAdapter LogOf(AccessInProgress access) =>
        Logging.GetLogger(_system!, nameof(EventLoops)).As(LogEvents.DeviceSlow)
            .About(access.Guest).About(access.Device);

    private sealed class Round : IRunnable
    {
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Task => _done.Task;

        public void Run() => _done.SetResult();

        public void Execute() => Run();
    }
}
