using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.Guests;

namespace XenPciBack.Backend.Supervision;

// Actors of guests that end: in good order, to read everything anew, with a device, or by a failure.
internal sealed partial class BackendSupervisor
{
    // Why actors have failed that are about to end.
    private readonly Dictionary<IActorRef, string> _faults = [];

    // When the actor of a guest failed, the latest last.
    private readonly Dictionary<BackendDirectory, List<long>> _failures = [];

    // Guests whose actors are ending in good order.
    private readonly HashSet<BackendDirectory> _finished = [];

    // Guests whose actors are ending because another one is to read everything anew.
    private readonly HashSet<BackendDirectory> _startingOver = [];

    private void OnGuestEnded(IActorRef ended)
    {
        var directory = _guests.First(g => g.Value.Equals(ended)).Key;
        _guests.Remove(directory);
        _faults.Remove(ended, out var fault);
        fault ??= "it has ended without a word";
        if (_startingOver.Remove(directory))
        {
            OnChanged();
            return;
        }
        if (_finished.Remove(directory))
        {
            if (!_standsBy)
                _log.As(LogEvents.GuestGone).About(directory.Guest)
                    .Info("The guest is gone; {Guests} left", _guests.Count);
            // The toolstack may have made the directory anew while the actor was ending.
            OnChanged();
        }
        else if (_endingWithDevice.Remove(directory.Guest))
        {
            // Another one sees its directory through to its end.
            Serve(directory);
            return;
        }
        else if (FailsTooOften(directory))
        {
            Context.System.EventStream.Publish(new BackendEvents.GuestAbandoned(directory.Guest, fault, [Failed(ended, fault), Did("leaves the guest alone")]));
            _leftAlone.Add(directory);
            _log.As(LogEvents.GuestAbandoned).About(directory.Guest)
                .Error("The guest is no longer served: its actor has failed {Times} times; {Guests} left",
                    FailureTable.MostFailures, _guests.Count);
        }
        else
        {
            _log.As(LogEvents.GuestActorReplaced).About(directory.Guest)
                .Error("The guest's actor failed; another one adopts the guest");
            Context.System.EventStream.Publish(new BackendEvents.ActorReplaced(nameof(GuestActor), directory.Guest, fault, [Failed(ended, fault), Did("starts another one, which takes the guest up where it is")]));
            Serve(directory);
            return;
        }
        DropCounts();
        Context.System.EventStream.Publish(new BackendEvents.GuestGone(directory.Guest));
    }

    /// <summary>Of guests that are served no more.</summary>
    private void DropCounts()
    {
        foreach (var counted in _meters.Guests)
            if (!_guests.Keys.Any(directory => directory.Guest == counted.Domain))
                _meters.Drop(counted.Domain);
    }

    private bool FailsTooOften(BackendDirectory directory)
    {
        if (!_failures.TryGetValue(directory, out var failures)) _failures[directory] = failures = [];
        failures.Add(_host.Clock.GetTimestamp());
        failures.RemoveAll(at => _host.Clock.GetElapsedTime(at) > FailureTable.FailureWindow);
        return failures.Count >= FailureTable.MostFailures;
    }

    private string Did(string what) => $"{Text(Self)} {nameof(BackendSupervisor)}: {what}";

    private static string Failed(IActorRef guest, string fault) => $"{Text(guest)} {nameof(GuestActor)}: fails, {fault}";

    private static string Text(IActorRef actor) => actor.Path.ToStringWithoutAddress();
}
