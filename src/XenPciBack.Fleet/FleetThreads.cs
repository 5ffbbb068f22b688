using System.Collections.Concurrent;
using Akka.Actor.Setup;
using Akka.Configuration;
using Akka.Dispatch;

namespace XenPciBack.Fleet;

/// <summary>
/// The threads on which the fleet's actors and the answers to web requests run, so that they run neither on those that serve guests nor in the
/// process's pool. Reading and writing sockets is left to the libraries' own.
/// </summary>
public sealed class FleetThreads : TaskScheduler, IDisposable
{
    private const int Count = 2;

    private readonly BlockingCollection<object> _work = [];

    /// <param name="onStart">Called on each of the threads before anything else, to give it its priority.</param>
    public FleetThreads(Action onStart)
    {
        for (var i = 0; i < Count; i++)
            new Thread(() =>
            {
                onStart();
                Work();
            })
            { IsBackground = true, Name = $"fleet-{i}" }.Start();
    }

    public override int MaximumConcurrencyLevel => Count;

    internal void Execute(IRunnable run) => Add(run);

    public void Dispose() => _work.CompleteAdding();

    protected override IEnumerable<Task> GetScheduledTasks() => _work.OfType<Task>();

    protected override void QueueTask(Task task) => Add(task);

    protected override bool TryExecuteTaskInline(Task task, bool taskWasPreviouslyQueued) => false;

    private void Add(object work)
    {
        try
        {
            _work.Add(work);
        }
        catch (InvalidOperationException)
        {
            // After the end nothing of the fleet goes on, though a timer of an actor system that took too long to leave may still say so.
        }
    }

    private void Work()
    {
        foreach (var work in _work.GetConsumingEnumerable())
        {
            if (work is IRunnable run) run.Run();
            else TryExecuteTask((Task)work);
        }
    }
}

/// <summary>What the fleet's actor system finds in its setup.</summary>
/// <param name="threads">Of its dispatchers.</param>
/// <param name="log">Where its log lines go.</param>
internal sealed class FleetSetup(FleetThreads threads, Action<Akka.Event.LogEvent> log) : Setup
{
    public FleetThreads Threads { get; } = threads;

    public Action<Akka.Event.LogEvent> Log { get; } = log;
}

/// <summary>Named by the fleet's configuration; made by Akka.</summary>
public sealed class FleetExecutorConfigurator(Config config, IDispatcherPrerequisites prerequisites) : ExecutorServiceConfigurator(config, prerequisites)
{
    public override ExecutorService Produce(string id) => new FleetExecutor(id, Prerequisites.Settings.Setup.Get<FleetSetup>().Value.Threads);
}

internal sealed class FleetExecutor(string id, FleetThreads threads) : ExecutorService(id)
{
    public override void Execute(IRunnable run) => threads.Execute(run);

    public override void Shutdown() { }
}
