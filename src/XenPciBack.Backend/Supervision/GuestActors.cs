using System.Collections.Immutable;
using Akka.Actor;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Tracing;

namespace XenPciBack.Backend.Supervision;

/// <summary>The actors of guests, as their supervisor has them: one for each directory, which names it.</summary>
/// <param name="supervisor">The supervisor's context.</param>
/// <param name="ended">What the supervisor is told when the actor of a directory has ended.</param>
internal sealed class GuestActors(IActorContext supervisor, Func<BackendDirectory, object> ended)
{
    private ImmutableArray<TraceSink> _sinks = [];

    public void Start(BackendDirectory directory, Props props)
    {
        var guest = supervisor.ActorOf(props, directory.ActorName);
        supervisor.WatchWith(guest, ended(directory));
        if (!_sinks.IsEmpty) guest.Tell(new TraceMessages.SinksAre(_sinks));
    }

    public void Tell(BackendDirectory directory, object message) => supervisor.Child(directory.ActorName).Tell(message);

    public void Tell(IEnumerable<ServedGuest> guests, object message)
    {
        foreach (var guest in guests) Tell(guest.Directory, message);
    }

    public void AddSink(TraceSink sink, IEnumerable<ServedGuest> guests) => Trace(_sinks.Add(sink), guests);

    public void RemoveSink(TraceSink sink, IEnumerable<ServedGuest> guests) => Trace(_sinks.Remove(sink), guests);

    private void Trace(ImmutableArray<TraceSink> sinks, IEnumerable<ServedGuest> guests)
    {
        _sinks = sinks;
        Tell(guests, new TraceMessages.SinksAre(sinks));
    }
}
