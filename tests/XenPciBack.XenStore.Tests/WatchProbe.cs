using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore.Tests;

/// <summary>An owner of a watch that counts its notifications and accepts them when told to.</summary>
internal sealed class WatchProbe : IAsyncDisposable
{
    private int _notifications;

    public XenStoreWatch Watch { get; private set; } = null!;

    public int Notifications => Volatile.Read(ref _notifications);

    /// <summary>Registered, and the first event (which every xenstored sends) accepted.</summary>
    public static async Task<WatchProbe> StartAsync(XenStoreClient client, XenStorePath path)
    {
        var probe = new WatchProbe();
        probe.Watch = await client.WatchAsync(path, () => Interlocked.Increment(ref probe._notifications));
        await probe.NotifiedAsync(1);
        probe.Watch.Accept();
        return probe;
    }

    public Task NotifiedAsync(int times) =>
        Eventually.IsTrueAsync(() => Notifications >= times, () => $"{times} notifications came for {Watch?.Path}");

    public ValueTask DisposeAsync() => Watch.DisposeAsync();
}
