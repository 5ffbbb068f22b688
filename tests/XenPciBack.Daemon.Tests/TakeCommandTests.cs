using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Demo;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Tests;

/// <summary>A guest of the kernel's backend becomes the daemon's.</summary>
public sealed class TakeCommandTests : IAsyncLifetime
{
    private const string Nic = "0000:03:00.0", Disk = "0000:04:00.0";

    private readonly TemporaryDirectory _directory = new();
    private readonly Recorder _toolstack = new();
    private SimulatedXenHost _xen = null!;
    private XenHost _host = null!;
    private XenStoreClient _client = null!;

    public async Task InitializeAsync()
    {
        _xen = await DemoHost.StartAsync(Path.Combine(_directory.Path, "xenstored"));
        _host = _xen.OpenHost();
        _client = await XenStoreClient.ConnectAsync(_xen.XenStored.Endpoint);
        foreach (var (name, devices) in DemoHost.Guests) await _xen.CreateGuestAsync(name, devices);
        _xen.Pci.ServeByKernel(new DomainId(1), 0);
    }

    public async Task DisposeAsync()
    {
        await _client.DisposeAsync();
        _host.Dispose();
        await _xen.DisposeAsync();
        _directory.Dispose();
    }

    [Theory]
    [InlineData("web"), InlineData("1")]
    public async Task Every_device_is_taken_away_before_the_first_comes_back_as_it_was(string guest)
    {
        Assert.Equal(ExitCode.Success, await TakeAsync(guest));
        Assert.Equal([$"detach 1 {Nic}", $"detach 1 {Disk}", $"attach 1 {Nic} {PciDeviceOptions.Default}", $"attach 1 {Disk} {PciDeviceOptions.Default}"], _toolstack.Asked);
    }

    [Theory]
    [InlineData("storage"), InlineData("nobody")]
    public async Task A_guest_that_the_kernel_does_not_serve_keeps_its_devices(string guest)
    {
        Assert.Equal(ExitCode.Failure, await TakeAsync(guest));
        Assert.Empty(_toolstack.Asked);
    }

    [Fact]
    public async Task Nothing_is_given_to_a_guest_that_keeps_a_device()
    {
        _toolstack.Refuses = $"detach 1 {Nic}";
        Assert.Equal(ExitCode.Failure, await TakeAsync("web"));
        Assert.Equal([$"detach 1 {Nic}"], _toolstack.Asked);
    }

    [Fact]
    public async Task What_was_taken_away_before_the_guest_kept_one_comes_back()
    {
        _toolstack.Refuses = $"detach 1 {Disk}";
        Assert.Equal(ExitCode.Failure, await TakeAsync("web"));
        Assert.Equal([$"detach 1 {Nic}", $"detach 1 {Disk}", $"attach 1 {Nic} {PciDeviceOptions.Default}"], _toolstack.Asked);
    }

    [Fact]
    public async Task A_number_is_a_domain_id_before_it_is_a_name()
    {
        _xen.Pci.Plug(Intel82574.At(HostBdf.Parse("0000:06:00.0")));
        await _xen.CreateGuestAsync("1", [HostBdf.Parse("0000:06:00.0")]);
        Assert.Equal(ExitCode.Success, await TakeAsync("1"));
        Assert.Equal([$"detach 1 {Nic}", $"detach 1 {Disk}"], _toolstack.Asked.Take(2));
        Assert.All(_toolstack.Asked, asked => Assert.Contains(" 1 ", asked, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_device_that_does_not_come_back_does_not_keep_the_next_one()
    {
        _toolstack.Refuses = $"attach 1 {Nic} {PciDeviceOptions.Default}";
        Assert.Equal(ExitCode.Failure, await TakeAsync("web"));
        Assert.Equal($"attach 1 {Disk} {PciDeviceOptions.Default}", _toolstack.Asked[^1]);
    }

    private Task<int> TakeAsync(string guest) => TakeCommand.TakeAsync(guest, _client, DomainId.Zero, _host.Pci, _toolstack);

    /// <summary>Notes what it is asked, and does nothing.</summary>
    private sealed class Recorder : IToolstack
    {
        public List<string> Asked { get; } = [];

        public string? Refuses { get; set; }

        public Task<string?> DetachAsync(DomainId guest, HostBdf device) => Answer($"detach {guest} {device}");

        public Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options) => Answer($"attach {guest} {device} {options}");

        public Task<IReadOnlySet<DomainId>> EndedAsync() => Task.FromResult<IReadOnlySet<DomainId>>(new HashSet<DomainId>());

        private Task<string?> Answer(string asked)
        {
            Asked.Add(asked);
            return Task.FromResult(asked == Refuses ? "the toolstack does not want to" : null);
        }
    }
}
