using System.Diagnostics;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Demo;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Benchmarks.Isolation;

/// <summary>
/// An embedded host whose first guest has the device that may hang, and whose other guests are bystanders.
/// </summary>
internal sealed class IsolationHost : IAsyncDisposable
{
    private const int RevisionId = 0x08;

    private static readonly TimeSpan Hang = TimeSpan.FromSeconds(5), BetweenRequests = TimeSpan.FromMilliseconds(10);

    private readonly TemporaryDirectory _directory;
    private readonly SimulatedXenHost _xen;
    private readonly RunningBackend _backend;
    private readonly List<SimulatedGuest> _guests = [];

    private IsolationHost(TemporaryDirectory directory, SimulatedXenHost xen, RunningBackend backend) =>
        (_directory, _xen, _backend) = (directory, xen, backend);

    public static async Task<IsolationHost> StartAsync(int guests, int loops)
    {
        var directory = new TemporaryDirectory();
        var xen = await SimulatedXenHost.StartAsync(Path.Combine(directory.Path, "xenstored"));
        var settings = SettingsReader.Read(
            $"xenpciback {{ control-socket = \"{directory.Path}/control\", data-plane.loops = {loops} }}", "benchmark");
        var host = new IsolationHost(directory, xen, await RunningBackend.StartAsync(xen, settings));
        for (var i = 0; i < guests; i++) host._guests.Add(await host.ConnectAsync(i));
        return host;
    }

    /// <summary>
    /// Every bystander reads a register a hundred times a second; the first guest does so without a pause.
    /// </summary>
    /// <param name="hangs">
    /// Whether each access to the first guest's device takes five seconds; otherwise that guest pauses for as long, so
    /// that it uses the processor as little.
    /// </param>
    public async Task<IsolationRound> AskAsync(TimeSpan howLong, bool hangs)
    {
        using var fault = hangs
            ? _xen.Faults.Arm(
                FaultPoint.ConfigRead, FaultKind.Stall, device: AddressOf(0), times: int.MaxValue, duration: Hang)
            : null;
        using var stop = new CancellationTokenSource();
        var first = Task.Run(() => AskSlowlyAsync(_guests[0], hangs, stop.Token));
        var (used, clock) = (Environment.CpuUsage.TotalTime, Stopwatch.StartNew());
        var asked = await Task.WhenAll(_guests.Skip(1).Select(guest => Task.Run(() => AskAsync(guest, howLong))));
        var cpu = (Environment.CpuUsage.TotalTime - used) / clock.Elapsed / Environment.ProcessorCount;
        await stop.CancelAsync();
        // A stall ends with its fault.
        fault?.Dispose();
        await first;
        var took = asked.SelectMany(times => times).Order().ToList();
        return new IsolationRound(
            Statistics.Quantile(took, 0.5), Statistics.Quantile(took, 0.99), took[^1], took.Count, cpu);
    }

    public async ValueTask DisposeAsync()
    {
        await _backend.DisposeAsync();
        await _xen.DisposeAsync();
        _directory.Dispose();
    }

    private async Task<SimulatedGuest> ConnectAsync(int number)
    {
        _xen.Pci.Plug(Intel82574.At(AddressOf(number)));
        var patient = new FrontendOptions { RequestTimeout = TimeSpan.FromHours(1) };
        var guest = await _xen.CreateGuestAsync($"guest-{number}", [AddressOf(number)], patient);
        await guest.Frontend.WaitUntilConnectedAsync(CancellationToken.None);
        return guest;
    }

    private static async Task AskSlowlyAsync(SimulatedGuest guest, bool hangs, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await guest.Frontend.ReadConfigAsync(0, 0, 0, RevisionId, 1);
            if (!hangs) await Task.Delay(Hang, stop).ContinueWith(_ => { }, TaskScheduler.Default);
        }
    }

    /// <returns>How long each read took as the guest sees it, in milliseconds.</returns>
    private static async Task<List<double>> AskAsync(SimulatedGuest guest, TimeSpan howLong)
    {
        var (took, clock) = (new List<double>(), Stopwatch.StartNew());
        using var pace = new PeriodicTimer(BetweenRequests);
        while (clock.Elapsed < howLong && await pace.WaitForNextTickAsync())
        {
            var began = Stopwatch.GetTimestamp();
            var answer = await guest.Frontend.ReadConfigAsync(0, 0, 0, RevisionId, 1);
            took.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            if (answer.Error != 0)
                throw new InvalidOperationException($"{guest.Name}: a read failed: error {answer.Error}");
        }
        return took;
    }

    private static HostBdf AddressOf(int number) => new(0, 1, number, 0);
}
