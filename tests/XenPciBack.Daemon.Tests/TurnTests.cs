using XenPciBack.Daemon.Commands;

namespace XenPciBack.Daemon.Tests;

/// <summary>One daemon serves, one stands by, the others wait behind it.</summary>
public sealed class TurnTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private readonly string _directory = Directory.CreateTempSubdirectory("xenpciback-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task The_first_serves_at_once_and_has_nobody_behind_it()
    {
        using var turn = await Turn.TakeAsync(_directory, NothingToPrepare, CancellationToken.None).WaitAsync(Patience);
        Assert.Null(Turn.NextOf(_directory));
    }

    [Fact]
    public async Task The_second_stands_by_when_it_is_prepared_and_serves_when_the_first_lets_go()
    {
        var first = await Turn.TakeAsync(_directory, NothingToPrepare, CancellationToken.None).WaitAsync(Patience);
        var prepared = new TaskCompletionSource();
        var second = Turn.TakeAsync(_directory, () => prepared.Task, CancellationToken.None);
        Assert.Null(Turn.NextOf(_directory));
        prepared.SetResult();
        await EventuallyAsync(() => Turn.NextOf(_directory) == Environment.ProcessId);
        Assert.False(second.IsCompleted);
        first.Dispose();
        using var turn = await second.WaitAsync(Patience);
        Assert.Null(Turn.NextOf(_directory));
    }

    [Fact]
    public async Task A_third_waits_behind_the_second()
    {
        var first = await Turn.TakeAsync(_directory, NothingToPrepare, CancellationToken.None).WaitAsync(Patience);
        var second = Turn.TakeAsync(_directory, () => Task.CompletedTask, CancellationToken.None);
        await EventuallyAsync(() => Turn.NextOf(_directory) is not null);
        var third = Turn.TakeAsync(_directory, () => Task.CompletedTask, CancellationToken.None);
        first.Dispose();
        using (await second.WaitAsync(Patience))
        {
            Assert.False(third.IsCompleted);
            await EventuallyAsync(() => Turn.NextOf(_directory) is not null);
        }
        (await third.WaitAsync(Patience)).Dispose();
    }

    private static Task NothingToPrepare() => throw new InvalidOperationException("nobody is to be stood by for");

    private static async Task EventuallyAsync(Func<bool> condition)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (!condition()) await Task.Delay(10, patience.Token);
    }
}
