using Akka.Actor;
using Akka.TestKit.Xunit2;
using XenPciBack.Backend.DataPlane;

namespace XenPciBack.Backend.Tests;

public class DataPlaneTests() : TestKit(DataPlaneDispatcher.Configuration)
{
    private sealed class Echo : ReceiveActor
    {
        public Echo() => Receive<int>(n => Sender.Tell((n, Environment.CurrentManagedThreadId)));
    }

    private sealed class Countdown : ReceiveActor
    {
        public Countdown() => Receive<int>(n =>
        {
            if (n == 0) Context.Parent.Tell("done");
            else Sender.Tell(n - 1);
        });
    }

    [Fact]
    public void An_actor_answers_on_the_thread_that_asked()
    {
        var echo = Sys.ActorOf(Props.Create(() => new Echo()).WithDispatcher(DataPlaneDispatcher.DispatcherId));
        // The first message may still find the actor being made, elsewhere.
        echo.Tell(0, TestActor);
        ExpectMsg<(int, int)>();
        echo.Tell(1, TestActor);
        Assert.Equal((1, Environment.CurrentManagedThreadId), ExpectMsg<(int, int)>());
    }

    [Fact]
    public void Two_actors_that_answer_each_other_a_million_times_do_not_pile_up_on_the_stack()
    {
        var done = CreateTestProbe();
        var props = Props.Create(() => new Countdown()).WithDispatcher(DataPlaneDispatcher.DispatcherId);
        var (one, other) = (done.ChildActorOf(props), done.ChildActorOf(props));
        one.Tell(1_000_000, other);
        done.ExpectMsg("done", TimeSpan.FromSeconds(60));
    }
}
