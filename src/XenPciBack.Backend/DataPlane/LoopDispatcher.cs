using Akka.Actor;
using Akka.Configuration;
using Akka.Dispatch;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// The Akka dispatcher of one event loop: every mailbox that uses it runs on that loop and nowhere else.
/// </summary>
internal sealed class LoopDispatcher
{
    private static int _count;

    private readonly EventLoop _loop;

    public LoopDispatcher(EventLoop loop)
    {
        _loop = loop;
        // Akka knows dispatchers by name, and forgets none.
        Id = $"xenpciback.loop-{Interlocked.Increment(ref _count)}";
    }

    /// <summary>For <see cref="Props.WithDispatcher"/>, once the system has been told.</summary>
    public string Id { get; }

    /// <summary>Makes the dispatcher known to an actor system.</summary>
    public void RegisterWith(ActorSystem system)
    {
        var config = ConfigurationFactory.ParseString($"id = \"{Id}\"")
            .WithFallback(system.Settings.Config.GetConfig("akka.actor.default-dispatcher"));
        system.Dispatchers.RegisterConfigurator(Id, new Configurator(config, system.Dispatchers.Prerequisites, _loop));
    }

    private sealed class Configurator : MessageDispatcherConfigurator
    {
        private readonly Dispatching _dispatcher;

        public Configurator(Config config, IDispatcherPrerequisites prerequisites, EventLoop loop)
            : base(config, prerequisites) => _dispatcher = new Dispatching(this, loop);

        public override MessageDispatcher Dispatcher() => _dispatcher;
    }

    private sealed class Dispatching : MessageDispatcher
    {
        // Messages of one actor in a row; the loop's other actors, and its events, wait meanwhile.
        private const int MostMessages = 30;

        private readonly EventLoop _loop;

        public Dispatching(MessageDispatcherConfigurator configurator, EventLoop loop) : base(configurator)
        {
            _loop = loop;
            Throughput = MostMessages;
        }

        protected override void ExecuteTask(IRunnable run) => _loop.Execute(run);

        protected override void Shutdown()
        {
            // The loop outlives its actors.
        }
    }
}
