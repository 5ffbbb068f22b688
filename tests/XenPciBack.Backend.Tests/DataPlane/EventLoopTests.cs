using System.Collections.Concurrent;
using Akka.Actor;
using Akka.Configuration;
using Akka.TestKit.Xunit2;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Hypervisor;

namespace XenPciBack.Backend.Tests.DataPlane;

/// <summary>On which thread the actors and events of guests run, and what a device that hangs holds up.</summary>
public sealed class EventLoopTests : TestKit
{
    private static readonly DomainId Guest = new(3);

    private readonly GuestPorts _ports = new();
    private readonly SimulatedEventChannels _channels;
    private readonly ManualResetEventSlim _deviceAnswers = new();

    public EventLoopTests() : base(ConfigurationFactory.ParseString("akka.loglevel = OFF")) =>
        _channels = new SimulatedEventChannels(_ports);

    protected override void AfterAll()
    {
        _deviceAnswers.Set();
        _channels.Dispose();
        base.AfterAll();
    }

    private EventLoops Loops(int most)
    {
        var loops = new EventLoops(_channels, most, turn: TimeSpan.FromMilliseconds(2));
        loops.Serve(Sys);
        return loops;
    }

    private IActorRef ActorOn(EventLoop loop, Props props) => Sys.ActorOf(props.WithDispatcher(loop.Dispatcher.Id));

    private IActorRef EchoOn(EventLoop loop) => ActorOn(loop, Props.Create(() => new Echo()));

    private IActorRef DeviceOn(EventLoop loop) => ActorOn(loop, Props.Create(() => new HangingDevice(_deviceAnswers)));

    private int ThreadOf(IActorRef echo)
    {
        echo.Tell("where", TestActor);
        return ExpectMsg<int>(Eventually.Patience);
    }

    /// <summary>Answers with the thread it runs on.</summary>
    private sealed class Echo : ReceiveActor
    {
        public Echo() => ReceiveAny(_ => Sender.Tell(Environment.CurrentManagedThreadId));
    }

    /// <summary>Begins an access that lasts as long as the test likes.</summary>
    private sealed class HangingDevice : ReceiveActor
    {
        public HangingDevice(ManualResetEventSlim answers) => ReceiveAny(_ =>
        {
            var thread = LoopThread.Current!;
            thread.BeginAccess(new AccessInProgress(Guest, default));
            Sender.Tell("begun");
            answers.Wait();
            Sender.Tell("ended");
            thread.EndAccess();
        });
    }

    /// <summary>Tells the test what it is told.</summary>
    private sealed class Relay : ReceiveActor
    {
        public Relay(IActorRef test) => ReceiveAny(test.Tell);
    }

    private sealed class Countdown : ReceiveActor
    {
        public Countdown() => Receive<int>(n =>
        {
            if (n == 0) Context.System.EventStream.Publish("done");
            else Sender.Tell(n - 1);
        });
    }

    [Fact]
    public void A_mailbox_runs_on_its_own_loop_whoever_tells()
    {
        using var loops = Loops(most: 2);
        var (one, other) = (loops.Enter(), loops.Enter());
        var (first, second, elsewhere) = (EchoOn(one), EchoOn(one), EchoOn(other));
        Assert.Equal(ThreadOf(first), ThreadOf(second));
        Assert.NotEqual(ThreadOf(first), ThreadOf(elsewhere));
        Assert.NotEqual(Environment.CurrentManagedThreadId, ThreadOf(first));
    }

    [Fact]
    public void Two_actors_that_answer_each_other_a_million_times_do_not_pile_up_on_the_stack()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        Sys.EventStream.Subscribe(TestActor, typeof(string));
        var countdown = Props.Create(() => new Countdown());
        ActorOn(loop, countdown).Tell(1_000_000, ActorOn(loop, countdown));
        ExpectMsg("done", Eventually.Patience);
    }

    [Fact]
    public void A_guest_has_a_loop_of_its_own_until_there_are_as_many_as_there_may_be()
    {
        using var loops = Loops(most: 2);
        var (first, second, third, fourth) = (loops.Enter(), loops.Enter(), loops.Enter(), loops.Enter());
        Assert.NotEqual(first, second);
        Assert.Equal([2, 2], new[] { first, second }.Select(loop => loop.Guests));
        Assert.True(third == first || third == second);
        third.Leave();
        Assert.Equal(third, loops.Enter());
        Assert.True(fourth.IsShared);
    }

    [Fact]
    public void An_event_is_delivered_on_the_loop_that_has_bound_the_port()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        var guestPort = _ports.Allocate(Guest);
        var events = new BlockingCollection<int>();
        BoundPort? port = null;
        On(loop, () => port = loop.Bind(Guest, guestPort.Number, () => events.Add(Environment.CurrentManagedThreadId)));
        var thread = ThreadOf(EchoOn(loop));
        Assert.Equal(thread, Take(events));

        On(loop, () => port!.Unmask());
        guestPort.Notify();
        Assert.Equal(thread, Take(events));
        On(loop, () => port!.Dispose());
        Assert.Equal((0, 0), (_ports.Bound, _channels.OpenHandles));
    }

    [Fact]
    public void While_a_device_hangs_the_others_of_its_loop_go_on()
    {
        using var loops = Loops(most: 1);
        var (loop, guestPort) = (loops.Enter(), _ports.Allocate(Guest));
        loops.Enter();
        var events = new BlockingCollection<int>();
        On(loop, () => loop.Bind(Guest, guestPort.Number, () => events.Add(Environment.CurrentManagedThreadId)));
        Take(events);
        var (device, other) = (DeviceOn(loop), EchoOn(loop));
        var before = ThreadOf(other);

        device.Tell("read", TestActor);
        ExpectMsg("begun", Eventually.Patience);
        var meanwhile = ThreadOf(other);
        Assert.NotEqual(before, meanwhile);

        _deviceAnswers.Set();
        ExpectMsg("ended", Eventually.Patience);
        Assert.Equal(meanwhile, ThreadOf(other));
        Assert.Equal(meanwhile, ThreadOf(EchoOn(loop)));
    }

    [Fact]
    public void A_late_answer_reaches_the_guest_on_the_loop_that_another_thread_leads_by_then()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        loops.Enter();
        var testActor = TestActor;
        var guest = ActorOn(loop, Props.Create(() => new Relay(testActor)));
        DeviceOn(loop).Tell("read", guest);
        ExpectMsg("begun", Eventually.Patience);
        ThreadOf(EchoOn(loop));
        _deviceAnswers.Set();
        ExpectMsg("ended", Eventually.Patience);
    }

    [Fact]
    public void As_many_devices_of_one_loop_may_hang_as_it_has()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        loops.Enter();
        for (var i = 0; i < 10; i++)
        {
            DeviceOn(loop).Tell("read", TestActor);
            ExpectMsg("begun", Eventually.Patience);
        }
        ThreadOf(EchoOn(loop));
        _deviceAnswers.Set();
        for (var i = 0; i < 10; i++) ExpectMsg("ended", Eventually.Patience);
        ThreadOf(EchoOn(loop));
    }

    [Fact]
    public async Task A_round_of_all_loops_is_complete_although_a_device_hangs()
    {
        using var loops = Loops(most: 2);
        var (one, _) = (loops.Enter(), loops.Enter());
        DeviceOn(one).Tell("read", TestActor);
        ExpectMsg("begun", Eventually.Patience);
        await loops.RoundTripAsync().WaitAsync(Eventually.Patience);
    }

    [Fact]
    public void An_overflow_of_the_ring_costs_no_guest_an_event()
    {
        using var loops = Loops(most: 1);
        var (loop, guestPort) = (loops.Enter(), _ports.Allocate(Guest));
        var events = new BlockingCollection<int>();
        BoundPort? port = null;
        On(loop, () => port = loop.Bind(Guest, guestPort.Number, () =>
        {
            events.Add(0);
            port?.Unmask();
        }));
        Take(events);
        On(loop, () =>
        {
            port!.Unmask();
            // Their first events stay in the ring, which has 64 entries.
            for (var i = 0; i < 64; i++) loop.Bind(Guest, _ports.Allocate(Guest).Number, () => { }).Dispose();
            guestPort.Notify();
        });
        Take(events);
        guestPort.Notify();
        Take(events);
    }

    [Fact]
    public void Actors_run_on_when_the_process_has_let_go_of_its_event_channels()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        On(loop, () => loop.Bind(Guest, _ports.Allocate(Guest).Number, () => { }));
        _channels.Dispose();
        ThreadOf(EchoOn(loop));
        ThreadOf(EchoOn(loop));
    }

    [Fact]
    public void What_is_told_to_an_actor_whose_loop_has_ended_is_not_lost()
    {
        var loops = Loops(most: 1);
        var echo = EchoOn(loops.Enter());
        ThreadOf(echo);
        loops.Dispose();
        ThreadOf(echo);
        Assert.Throws<ObjectDisposedException>(loops.Enter);
    }

    [Fact]
    public void A_port_that_cannot_be_bound_says_so()
    {
        using var loops = Loops(most: 1);
        var loop = loops.Enter();
        Exception? failure = null;
        On(loop, () => failure = Record.Exception(() => loop.Bind(Guest, new RemotePort(99), () => { })));
        Assert.Equal(Errnos.EINVAL, Assert.IsType<HostCallException>(failure).Errno);
    }

    private static int Take(BlockingCollection<int> events) =>
        events.TryTake(out var thread, Eventually.Patience) ? thread
            : throw new TimeoutException("no event was delivered");

    /// <summary>Runs something as the loop's own actors do, and waits for it.</summary>
    private void On(EventLoop loop, Action action)
    {
        var runner = ActorOn(loop, Props.Create(() => new Runner()));
        runner.Tell(action, TestActor);
        ExpectMsg("done", Eventually.Patience);
    }

    private sealed class Runner : ReceiveActor
    {
        public Runner() => Receive<Action>(action =>
        {
            action();
            Sender.Tell("done");
        });
    }
}
