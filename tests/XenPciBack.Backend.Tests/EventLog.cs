using System.Collections.Immutable;
using Akka.Actor;

namespace XenPciBack.Backend.Tests;

/// <summary>What a backend has published on its actor system's event stream, log lines included.</summary>
public sealed class EventLog
{
    private readonly IActorRef _recorder;
    private readonly HashSet<object> _taken = new(ReferenceEqualityComparer.Instance);
    private ImmutableList<object> _all = [];

    public EventLog(ActorSystem system)
    {
        _recorder = system.ActorOf(Props.Create(() => new Recorder(this)), "event-log");
        system.EventStream.Subscribe(_recorder, typeof(object));
    }

    /// <summary>All of a kind so far.</summary>
    public IReadOnlyList<T> Of<T>() => [.. Volatile.Read(ref _all).OfType<T>()];

    /// <summary>The same, with everything that was published before this call.</summary>
    public async Task<IReadOnlyList<T>> AllOfAsync<T>()
    {
        await _recorder.Ask<Flushed>(Flushed.Instance, Eventually.Patience);
        return Of<T>();
    }

    /// <summary>Forgets everything that was published before this call.</summary>
    public async Task ClearAsync()
    {
        await _recorder.Ask<Cleared>(Cleared.Instance, Eventually.Patience);
        _taken.Clear();
    }

    /// <summary>Waits for the first event of a kind that no call has returned yet.</summary>
    public async Task<T> NextAsync<T>() where T : class
    {
        T? next = null;
        await Eventually.IsTrueAsync(
            () => (next = Of<T>().FirstOrDefault(one => !_taken.Contains(one))) is not null, () => $"no {typeof(T).Name}");
        _taken.Add(next!);
        return next!;
    }

    private sealed record Flushed
    {
        public static readonly Flushed Instance = new();
    }

    private sealed record Cleared
    {
        public static readonly Cleared Instance = new();
    }

    private sealed class Recorder : UntypedActor
    {
        private readonly EventLog _log;

        public Recorder(EventLog log) => _log = log;

        protected override void OnReceive(object message)
        {
            switch (message)
            {
                case Flushed:
                    Sender.Tell(message);
                    break;
                case Cleared:
                    Volatile.Write(ref _log._all, []);
                    Sender.Tell(message);
                    break;
                default:
                    Volatile.Write(ref _log._all, _log._all.Add(message));
                    break;
            }
        }
    }
}
