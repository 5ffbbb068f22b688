using Akka.Dispatch;
using XenPciBack.Backend.DataPlane;

namespace XenPciBack.Backend.Tests;

/// <summary>In which order mailboxes run on one thread.</summary>
public class SameThreadExecutorTests
{
    private readonly List<string> _ran = [];
    private readonly SameThreadExecutor _executor = new("test");

    private Step Run(string name, Action<Step>? then = null) => new(step =>
    {
        _ran.Add(name);
        then?.Invoke(step);
    });

    [Fact]
    public void What_a_mailbox_gives_runs_after_it_and_not_inside()
    {
        _executor.Execute(Run("guest", _ =>
        {
            _executor.Execute(Run("device"));
            _ran.Add("guest done");
        }));
        Assert.Equal(["guest", "guest done", "device"], _ran);
    }

    [Fact]
    public void A_mailbox_that_has_more_to_do_does_not_wait_behind_what_it_gave()
    {
        _executor.Execute(Run("guest", guest =>
        {
            if (_ran.Count > 1) return;
            _executor.Execute(Run("device"));
            _executor.Execute(guest);
        }));
        Assert.Equal(["guest", "guest", "device"], _ran);
    }

    private sealed class Step(Action<Step> run) : IRunnable
    {
        public void Run() => run(this);

        public void Execute() => Run();
    }
}
