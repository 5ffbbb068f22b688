using Serilog;
using XenPciBack.Host.Linux;

namespace XenPciBack.Daemon.Commands;

/// <summary>
/// One daemon serves the guests of a host, another one stands by with everything loaded, and the kernel decides when it is its turn: at the
/// moment the first one lets go of its lock or is gone, however it ended.
/// </summary>
internal sealed class Turn : IDisposable
{
    private readonly HostLock _serving;

    private Turn(HostLock serving) => _serving = serving;

    /// <param name="directory">Where the locks are; one for each host.</param>
    /// <param name="prepare">What there is to do while another daemon serves.</param>
    public static async Task<Turn> TakeAsync(string directory, Func<Task> prepare, CancellationToken stop)
    {
        if (HostLock.TryTake(ServingPath(directory)) is { } free) return new Turn(free);

        Log.Information("Process {Process} serves the guests of this host; getting ready to take over from it", HostLock.HolderOf(ServingPath(directory)));
        await prepare().ConfigureAwait(false);
        // Whoever has this one is the next; others wait behind it.
        using var next = await HostLock.TakeAsync(NextPath(directory), stop).ConfigureAwait(false);
        var serving = HostLock.TakeAsync(ServingPath(directory), stop);
        if (!serving.IsCompleted) Log.Information("xenpciback stands by for process {Process}", HostLock.HolderOf(ServingPath(directory)));
        var turn = new Turn(await serving.ConfigureAwait(false));
        Log.Information("The daemon before this one has let go; taking its guests over");
        return turn;
    }

    /// <summary>The process that stands by and is ready; null if there is none.</summary>
    public static int? NextOf(string directory)
    {
        if (HostLock.TryTake(NextPath(directory)) is not { } nobodys) return HostLock.HolderOf(NextPath(directory));
        nobodys.Dispose();
        return null;
    }

    public void Dispose() => _serving.Dispose();

    private static string ServingPath(string directory) => Path.Combine(directory, "serving.lock");

    private static string NextPath(string directory) => Path.Combine(directory, "next.lock");
}
