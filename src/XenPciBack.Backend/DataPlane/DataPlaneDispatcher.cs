using Akka.Configuration;
using Akka.Dispatch;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// The dispatcher of guests and devices: a mailbox runs on the thread that put something into it, so that a request goes from the
/// event channel's reader through both actors and back without waking another thread.
/// </summary>
public static class DataPlaneDispatcher
{
    public const string DispatcherId = "akka.actor.pci-data-plane";

    /// <summary>The dispatcher's definition, for the actor system's configuration.</summary>
    public static Config Configuration => ConfigurationFactory.ParseString($$"""
        {{DispatcherId}} {
          type = Dispatcher
          executor = "{{typeof(SameThreadExecutorConfigurator).FullName}}, {{typeof(SameThreadExecutorConfigurator).Assembly.GetName().Name}}"
          throughput = 30
        }
        """);
}

/// <summary>Named by <see cref="DataPlaneDispatcher.Configuration"/>; made by Akka.</summary>
public sealed class SameThreadExecutorConfigurator(Config config, IDispatcherPrerequisites prerequisites) : ExecutorServiceConfigurator(config, prerequisites)
{
    public override ExecutorService Produce(string id) => new SameThreadExecutor(id);
}

/// <summary>
/// Runs what it is given at once; what that gives it in turn runs after it, not inside it, so that the stack stays flat. A mailbox that
/// has more to do goes on before what it has given: behind a device that takes its time, messages for the guest would wait with it,
/// because a mailbox that is to run on this thread runs on no other.
/// </summary>
internal sealed class SameThreadExecutor(string id) : ExecutorService(id)
{
    [ThreadStatic] private static Queue<IRunnable>? _waiting;
    [ThreadStatic] private static IRunnable? _running;
    [ThreadStatic] private static bool _goesOn;

    public override void Execute(IRunnable run)
    {
        var waiting = _waiting ??= new Queue<IRunnable>();
        if (_running == run)
        {
            _goesOn = true;
            return;
        }
        waiting.Enqueue(run);
        if (_running is not null) return;
        try
        {
            while (waiting.TryDequeue(out _running))
                do
                {
                    _goesOn = false;
                    _running.Run();
                }
                while (_goesOn);
        }
        finally
        {
            _running = null;
        }
    }

    public override void Shutdown() { }
}
