using System.Diagnostics;
using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>A right that one process has at a time, until it is gone.</summary>
public sealed class HostLockTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    private string LockPath => _directory["locks/serving.lock"];

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task Who_waits_has_it_as_soon_as_the_holder_is_killed()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(LockPath)!);
        using var holder = Process.Start(new ProcessStartInfo("flock", ["--no-fork", LockPath, "sh", "-c", "echo held; exec sleep 1000"]) { RedirectStandardOutput = true })!;
        Assert.Equal("held", await holder.StandardOutput.ReadLineAsync().WaitAsync(Eventually.Patience));
        Assert.Null(HostLock.TryTake(LockPath));
        var waiting = HostLock.TakeAsync(LockPath, CancellationToken.None);
        Assert.False(waiting.IsCompleted);
        holder.Kill();
        using var taken = await waiting.WaitAsync(Eventually.Patience);
        Assert.Equal(Environment.ProcessId, HostLock.HolderOf(LockPath));
    }

    [Fact]
    public async Task It_has_one_holder_and_the_next_when_that_one_lets_go()
    {
        var first = HostLock.TryTake(LockPath);
        Assert.NotNull(first);
        Assert.Null(HostLock.TryTake(LockPath));
        var waiting = HostLock.TakeAsync(LockPath, CancellationToken.None);
        first.Dispose();
        using var second = await waiting.WaitAsync(Eventually.Patience);
        Assert.Null(HostLock.TryTake(LockPath));
    }

    [Fact]
    public async Task Who_gives_up_waiting_does_not_get_it_later()
    {
        var holder = HostLock.TryTake(LockPath)!;
        using var stop = new CancellationTokenSource();
        var waiting = HostLock.TakeAsync(LockPath, stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        holder.Dispose();
        using var next = await HostLock.TakeAsync(LockPath, CancellationToken.None).WaitAsync(Eventually.Patience);
    }

    [Fact]
    public void Nobody_has_held_a_lock_that_does_not_exist() => Assert.Null(HostLock.HolderOf(LockPath));
}
