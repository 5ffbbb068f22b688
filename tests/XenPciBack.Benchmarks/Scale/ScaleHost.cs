using System.Diagnostics;
using Akka.Actor;
using Microsoft.Extensions.DependencyInjection;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Benchmarks.Scale;

/// <summary>An embedded host with many guests, the backend that serves them, and each measurement of the two.</summary>
internal sealed class ScaleHost : IAsyncDisposable
{
    private const int DevicesPerGuest = 4, SlotsPerBus = 32, BusesPerSegment = 256;
    private const int RevisionId = 0x08;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1), BetweenLooks = TimeSpan.FromMilliseconds(50);

    private readonly TemporaryDirectory _directory;
    private readonly SimulatedXenHost _xen;
    private readonly List<SimulatedGuest> _guests = [];
    private RunningBackend? _backend;

    private ScaleHost(TemporaryDirectory directory, SimulatedXenHost xen, RunningBackend backend) =>
        (_directory, _xen, _backend) = (directory, xen, backend);

    public static async Task<ScaleHost> StartAsync()
    {
        var directory = new TemporaryDirectory();
        var xen = await SimulatedXenHost.StartAsync(Path.Combine(directory.Path, "xenstored"));
        var settings = SettingsReader.Read($"xenpciback.control-socket = \"{directory.Path}/control\"", "benchmark");
        return new ScaleHost(directory, xen, await RunningBackend.StartAsync(xen, settings));
    }

    /// <summary>Creates guests one after the other, as <c>xl create</c> does.</summary>
    /// <returns>How long it took until the last one was connected; a guest is when it has found its devices.</returns>
    public async Task<TimeSpan> ConnectAsync(int guests)
    {
        for (var device = 0; device < guests * DevicesPerGuest; device++)
            _xen.Pci.Plug(Intel82574.At(AddressOf(device)));
        var clock = Stopwatch.StartNew();
        for (var guest = 0; guest < guests; guest++) _guests.Add(await ConnectGuestAsync(guest));
        return clock.Elapsed;
    }

    /// <summary>Processor time of this process while no guest asks anything, as a share of one core.</summary>
    /// <param name="settling">Time before that: what has just run is compiled again in the background.</param>
    public static async Task<double> IdleAsync(TimeSpan settling, TimeSpan howLong)
    {
        await Task.Delay(settling);
        var (used, clock) = (Environment.CpuUsage.TotalTime, Stopwatch.StartNew());
        await Task.Delay(howLong);
        return (Environment.CpuUsage.TotalTime - used) / clock.Elapsed;
    }

    /// <summary>Every guest reads a register of its devices in turn, as fast as it is answered.</summary>
    /// <returns>How long each read took as the guest sees it, in microseconds.</returns>
    public async Task<float[]> AskAsync(TimeSpan howLong)
    {
        var until = Stopwatch.GetTimestamp() + (long)(howLong.TotalSeconds * Stopwatch.Frequency);
        var asked = await Task.WhenAll(_guests.Select(guest => Task.Run(() => AskAsync(guest, until))));
        return [.. asked.SelectMany(took => took)];
    }

    /// <summary><c>xl destroy</c> of one guest among all the others; another one takes its place.</summary>
    public async Task<TimeSpan> DestroyAsync()
    {
        const int victim = 0;
        var clock = Stopwatch.StartNew();
        await _xen.DestroyGuestAsync(_guests[victim]);
        var took = clock.Elapsed;
        _guests[victim] = await ConnectGuestAsync(victim);
        return took;
    }

    /// <summary>
    /// Ends the backend, and nothing else: the guests stay connected, with the devices that they have found, and
    /// xenstore has what it had.
    /// </summary>
    /// <returns>By how much the heap of this process is smaller without the backend, in bytes.</returns>
    /// <exception cref="TimeoutException">The backend is still in memory: the difference would say nothing.</exception>
    public async Task<long> EndBackendAsync()
    {
        var with = await UsedHeapAsync();
        var ended = await StopBackendAsync();
        var clock = Stopwatch.StartNew();
        long without;
        do without = await UsedHeapAsync();
        while (ended.IsAlive && clock.Elapsed < Patience);
        return ended.IsAlive
            ? throw new TimeoutException($"the backend is still in memory {Patience} after its end")
            : with - without;
    }

    public async ValueTask DisposeAsync()
    {
        if (_backend is not null) await _backend.DisposeAsync();
        await _xen.DisposeAsync();
        _directory.Dispose();
    }

    private async Task<SimulatedGuest> ConnectGuestAsync(int number)
    {
        var devices = Enumerable.Range(number * DevicesPerGuest, DevicesPerGuest).Select(AddressOf);
        var guest = await _xen.CreateGuestAsync($"guest-{number}", [.. devices]);
        await guest.Frontend.WaitUntilConnectedAsync(CancellationToken.None);
        return guest.Frontend.Devices.Length == DevicesPerGuest ? guest
            : throw new InvalidOperationException(
                $"{guest.Name} found {guest.Frontend.Devices.Length} of its {DevicesPerGuest} devices");
    }

    private static async Task<List<float>> AskAsync(SimulatedGuest guest, long until)
    {
        var took = new List<float>();
        for (uint slot = 0; Stopwatch.GetTimestamp() is var began && began < until; slot = (slot + 1) % DevicesPerGuest)
        {
            var answer = await guest.Frontend.ReadConfigAsync(0, 0, slot << 3, RevisionId, 1);
            took.Add((float)Stopwatch.GetElapsedTime(began).TotalMicroseconds);
            if (answer.Error != 0)
                throw new InvalidOperationException(
                    $"{guest.Name}: a read of slot {slot} failed: error {answer.Error}");
        }
        return took;
    }

    private static HostBdf AddressOf(int device) =>
        new(device / SlotsPerBus / BusesPerSegment, device / SlotsPerBus % BusesPerSegment, device % SlotsPerBus, 0);

    // A method of its own, so that none of its references is on the stack when the heap is measured.
    private async Task<WeakReference> StopBackendAsync()
    {
        var system = new WeakReference(_backend!.Services.GetRequiredService<ActorSystem>());
        await _backend.DisposeAsync();
        _backend = null;
        return system;
    }

    private static async Task<long> UsedHeapAsync()
    {
        // On a stack of its own: what has just ended may be what called this.
        await Task.Delay(BetweenLooks);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return GC.GetTotalMemory(forceFullCollection: true);
    }
}
