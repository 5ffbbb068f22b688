using Akka.Actor;
using Akka.Configuration;
using XenPciBack.Backend;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Errors;
using XenPciBack.Daemon.Control;
using XenPciBack.Daemon.Demo;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Tests;

/// <summary>An operator lets the daemon go for good.</summary>
public sealed class DrainTests : IAsyncLifetime
{
    private static readonly BackendSettings Settings = new(
        DomainId.Zero, Loops: 64, Turn: TimeSpan.FromMilliseconds(2), GuestPatience: TimeSpan.FromSeconds(2),
        HotPlugPatience: TimeSpan.FromMilliseconds(200), StoreRetry: TimeSpan.FromMilliseconds(50));

    private readonly TemporaryDirectory _directory = new();
    private readonly ActorSystem _system = ActorSystem.Create(
        "drain",
        ConfigurationFactory.ParseString("akka { loglevel = OFF, stdout-loglevel = OFF, log-dead-letters = off }"));
    private SimulatedXenHost _xen = null!;
    private XenHost _host = null!;
    private EventLoops _loops = null!;
    private XenStoreClient _client = null!;
    private int? _next;

    public async Task InitializeAsync()
    {
        _xen = await DemoHost.StartAsync(Path.Combine(_directory.Path, "xenstored"));
        _host = _xen.OpenHost();
        _client = await XenStoreClient.ConnectAsync(_xen.XenStored.Endpoint);
        _loops = EventLoops.Of(_host, Settings);
        _system.StartPciBackend(_client, _host, _loops, new Quarantine(_host.LastingRecords), Settings);
        foreach (var (name, devices) in DemoHost.Guests) await _xen.CreateGuestAsync(name, devices);
        foreach (var guest in _xen.Guests) await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
    }

    public async Task DisposeAsync()
    {
        await _system.Terminate();
        _loops.Dispose();
        await _client.DisposeAsync();
        _host.Dispose();
        await _xen.DisposeAsync();
        _directory.Dispose();
    }

    private Task UntilNothingIsHeldAsync() => Eventually.EqualAsync(Held.Nothing, () => _xen.HeldByDom0);

    private Drain Drain(IToolstack? toolstack = null) => new(_client, toolstack is null ? _host : _host with { Toolstack = toolstack }, DomainId.Zero, () => _next);

    [Fact]
    public async Task Every_device_is_taken_from_its_guest_and_the_guests_run_on()
    {
        var (devices, refusal) = await Drain().AskAsync();
        Assert.Null(refusal);
        Assert.Equal(DemoHost.DeviceCount, devices.Count);
        Assert.Contains("0000:03:00.0 taken away from guest web (1).", devices);
        Assert.Equal(DemoHost.Guests.Count, _xen.Guests.Count);
        await UntilNothingIsHeldAsync();
    }

    [Fact]
    public async Task What_the_kernels_backend_serves_is_left_to_it()
    {
        _xen.Pci.ServeByKernel(_xen.Guests.First().Id, 0);
        var (devices, refusal) = await Drain().AskAsync();
        Assert.Null(refusal);
        Assert.Equal(DemoHost.DeviceCount - DemoHost.Guests[0].Devices.Count, devices.Count);
        Assert.DoesNotContain(devices, device => device.Contains("guest web", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_daemon_ends_only_after_the_operator_was_told()
    {
        var drain = Drain();
        await drain.AskAsync();
        Assert.False(drain.IsDone);
        drain.End();
        await drain.DoneAsync(CancellationToken.None).WaitAsync(Eventually.Patience);
        Assert.True(drain.IsDone);
    }

    [Fact]
    public async Task While_another_daemon_stands_by_no_guest_loses_anything()
    {
        _next = 4711;
        var (devices, refusal) = await Drain().AskAsync();
        Assert.Equal("process 4711 stands by and would serve on; stop it first", refusal);
        Assert.Empty(devices);
        Assert.All(_xen.Guests, guest => Assert.NotEmpty(guest.Frontend.Devices));
    }

    [Fact]
    public async Task A_guest_that_keeps_a_device_is_named_and_the_daemon_goes_on()
    {
        var (_, refusal) = await Drain(new Unwilling()).AskAsync();
        Assert.Equal("guest web (1) keeps 0000:03:00.0, and this daemon serves on: the guest does not want to", refusal);
    }

    [Fact]
    public async Task A_device_that_is_still_listed_when_the_toolstack_has_said_twice_that_it_is_detached_is_named_and_the_daemon_goes_on()
    {
        var toolstack = new Forgetful(_host.Toolstack, times: int.MaxValue);
        var (_, refusal) = await Drain(toolstack).AskAsync().WaitAsync(Eventually.Patience);
        Assert.Equal("guest web (1) keeps 0000:03:00.0, and this daemon serves on: the toolstack has said 2 times that the device is detached, and still lists it", refusal);
        Assert.Equal(2, toolstack.Forgotten);
    }

    [Fact]
    public async Task A_device_that_is_still_listed_once_is_asked_for_again_and_named_once()
    {
        var toolstack = new Forgetful(_host.Toolstack, times: 1);
        var (devices, refusal) = await Drain(toolstack).AskAsync().WaitAsync(Eventually.Patience);
        Assert.Null(refusal);
        Assert.Equal(DemoHost.DeviceCount, devices.Count);
        await UntilNothingIsHeldAsync();
    }

    /// <summary>Says of 0000:03:00.0 that it is detached without doing anything, that many times.</summary>
    private sealed class Forgetful(IToolstack toolstack, int times) : IToolstack
    {
        public int Forgotten { get; private set; }

        public Task<string?> DetachAsync(DomainId guest, HostBdf device)
        {
            if (device != new HostBdf(0, 3, 0, 0) || Forgotten == times) return toolstack.DetachAsync(guest, device);
            Forgotten++;
            return Task.FromResult<string?>(null);
        }

        public Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options) => toolstack.AttachAsync(guest, device, options);

        public Task<IReadOnlySet<DomainId>> EndedAsync() => toolstack.EndedAsync();
    }

    private sealed class Unwilling : IToolstack
    {
        public Task<string?> DetachAsync(DomainId guest, HostBdf device) => Task.FromResult<string?>("the guest does not want to");

        public Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options) => Task.FromResult<string?>(null);

        public Task<IReadOnlySet<DomainId>> EndedAsync() => Task.FromResult<IReadOnlySet<DomainId>>(new HashSet<DomainId>());
    }
}
