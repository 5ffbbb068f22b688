using XenPciBack.Daemon.Commands;

namespace XenPciBack.Daemon.Tests;

/// <summary>One daemon serves, one stands by, the others wait behind it.</summary>
public sealed class TurnTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly Turn _turn;

    public TurnTests() => _turn = new Turn(_directory.Path);

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void The_first_serves_at_once_and_has_nobody_behind_it()
    {
        using var serving = _turn.TryTake();
        Assert.NotNull(serving);
        Assert.Equal((Environment.ProcessId, null), (_turn.Serving, _turn.Next));
        Assert.Null(_turn.TryTake());
    }

    [Fact]
    public async Task The_second_stands_by_and_serves_when_the_first_lets_go()
    {
        var first = _turn.TryTake()!;
        var isNext = new TaskCompletionSource();
        var second = _turn.TakeAsync(isNext.SetResult, CancellationToken.None);
        await isNext.Task.WaitAsync(Eventually.Patience);
        Assert.Equal(Environment.ProcessId, _turn.Next);
        Assert.False(second.IsCompleted);
        first.Dispose();
        using var serving = await second.WaitAsync(Eventually.Patience);
        Assert.Null(_turn.Next);
        Assert.Null(_turn.TryTake());
    }

    [Fact]
    public async Task A_third_waits_behind_the_second()
    {
        var first = _turn.TryTake()!;
        var (secondIsNext, thirdIsNext) = (new TaskCompletionSource(), new TaskCompletionSource());
        var second = _turn.TakeAsync(secondIsNext.SetResult, CancellationToken.None);
        await secondIsNext.Task.WaitAsync(Eventually.Patience);
        var third = _turn.TakeAsync(thirdIsNext.SetResult, CancellationToken.None);
        Assert.False(thirdIsNext.Task.IsCompleted);
        first.Dispose();
        using (await second.WaitAsync(Eventually.Patience))
        {
            await thirdIsNext.Task.WaitAsync(Eventually.Patience);
            Assert.False(third.IsCompleted);
        }
        (await third.WaitAsync(Eventually.Patience)).Dispose();
    }
}
