using XenPciBack.Protocol;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.Simulation.XenStored;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Tests.Toolstack;

public sealed class SimulatedToolstackTests : IAsyncLifetime
{
    private static readonly DomainId Guest = new(5);
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0"), Disk = HostBdf.Parse("0000:04:00.0"), Edu = HostBdf.Parse("0000:00:05.0");
    private static readonly XenStorePath Backend = SimulatedToolstack.BackendOf(Guest), Frontend = SimulatedToolstack.FrontendOf(Guest);

    private EmbeddedXenStored _xenStored = null!;
    private XenStoreClient _store = null!;
    private SimulatedToolstack _toolstack = null!;

    public async Task InitializeAsync()
    {
        _xenStored = EmbeddedXenStored.Start(Path.Combine(Path.GetTempPath(), $"xenstored-{Guid.NewGuid():N}"));
        _store = await XenStoreClient.ConnectAsync(_xenStored.Endpoint);
        _toolstack = new SimulatedToolstack(_store, Eventually.Patience);
        await _toolstack.CreateDomainAsync(Guest, "web");
    }

    public async Task DisposeAsync()
    {
        await _store.DisposeAsync();
        await _xenStored.DisposeAsync();
    }

    [Fact]
    public async Task The_first_device_creates_both_directories_as_libxl_does()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        Assert.Equal(
            [
                "dev-0=0000:03:00.0", "domain=web", "frontend=/local/domain/5/device/pci/0", "frontend-id=5", "key-0=0000:03:00.0", "num_devs=1", "online=1",
                "opts-0=msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict", "state=1", "state-0=1",
            ], await DumpAsync(Backend));
        Assert.Equal(["backend=/local/domain/0/backend/pci/5/0", "backend-id=0", "state=1"], await DumpAsync(Frontend));
    }

    [Fact]
    public async Task The_guest_owns_its_directory_and_may_read_the_backends()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        foreach (var name in (string[])["", "/state", "/dev-0"])
            Assert.Equal(XenStorePermission.ParseList("n0,r5"), await PermissionsAsync(Backend.Text + name));
        foreach (var name in (string[])["", "/state", "/backend"])
            Assert.Equal(XenStorePermission.ParseList("n5,r0"), await PermissionsAsync(Frontend.Text + name));
    }

    [Fact]
    public async Task Further_devices_at_creation_leave_the_state_alone()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        await _store.WriteAsync(Backend / "state", "2");
        await _toolstack.AddAtCreationAsync(Guest, Disk);
        Assert.Equal("2", await _store.ReadAsync(Backend / "state"));
        Assert.Equal("2", await _store.ReadAsync(Backend / "num_devs"));
        Assert.Equal("0000:04:00.0", await _store.ReadAsync(Backend / "dev-1"));
        Assert.Equal([Nic, Disk], await _toolstack.DevicesAsync(Guest));
        Assert.Equal("5", await _store.ReadAsync(XenStorePath.Root / "libxl/pci/0000-04-00-0/domid"));
    }

    [Fact]
    public async Task Attaching_waits_for_Connected_and_asks_for_reconfiguration()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        var attach = _toolstack.AttachAsync(Guest, Disk);
        Assert.False(attach.IsCompleted);
        await _store.WriteAsync(Backend / "state", "4");
        await attach;
        Assert.Equal("7", await _store.ReadAsync(Backend / "state"));
        Assert.Equal("1", await _store.ReadAsync(Backend / "state-1"));
    }

    [Fact]
    public async Task Attaching_the_first_device_to_a_running_domain_creates_the_directories()
    {
        await _toolstack.AttachAsync(Guest, Nic);
        Assert.Equal("1", await _store.ReadAsync(Backend / "state"));
    }

    [Fact]
    public async Task A_backend_that_is_not_ready_is_given_up()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        var impatient = new SimulatedToolstack(_store, TimeSpan.FromMilliseconds(20));
        var e = await Assert.ThrowsAsync<TimeoutException>(() => impatient.AttachAsync(Guest, Disk));
        Assert.Equal("Backend /local/domain/0/backend/pci/5/0 not ready", e.Message);
        Assert.Equal("1", await _store.ReadAsync(Backend / "num_devs"));
    }

    [Fact]
    public async Task Detaching_marks_the_device_and_afterwards_moves_the_others_down()
    {
        foreach (var device in (HostBdf[])[Nic, Disk, Edu]) await _toolstack.AddAtCreationAsync(Guest, device);
        for (var i = 0; i < 3; i++) await _store.WriteAsync(Backend / $"vdev-{i}", $"0000:00:{i:x2}.00");
        await _store.WriteAsync(Backend / "state", "4");

        var detach = _toolstack.DetachAsync(Guest, Nic);
        await WaitForAsync(Backend / "state", "7");
        Assert.Equal("5", await _store.ReadAsync(Backend / "state-0"));
        Assert.False(detach.IsCompleted);
        await _store.WriteAsync(Backend / "state", "4");
        await detach;

        Assert.Equal([Disk, Edu], await _toolstack.DevicesAsync(Guest));
        Assert.Equal("2", await _store.ReadAsync(Backend / "num_devs"));
        Assert.Equal("0000:00:01.00", await _store.ReadAsync(Backend / "vdev-0"));
        Assert.Equal("0000:00:02.00", await _store.ReadAsync(Backend / "vdev-1"));
        Assert.Null(await _store.ReadAsync(Backend / "vdev-2"));
        Assert.Null(await _store.ReadAsync(Backend / "dev-2"));
        Assert.Null(await _store.ReadAsync(XenStorePath.Root / "libxl/pci/0000-03-00-0/domid"));
    }

    [Fact]
    public async Task Detaching_the_last_device_removes_both_directories_and_what_is_empty_above_them()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        await _store.WriteAsync(Backend / "state", "4");
        var detach = _toolstack.DetachAsync(Guest, Nic);
        await WaitForAsync(Backend / "state", "7");
        await _store.WriteAsync(Backend / "state", "4");
        await detach;
        Assert.False(await _store.ExistsAsync(XenStorePath.Root / "local/domain/0/backend"));
        Assert.False(await _store.ExistsAsync(XenStorePath.Root / "local/domain/5/device"));
        Assert.True(await _store.ExistsAsync(XenStorePath.Root / "local/domain/5"));
    }

    [Fact]
    public async Task Destroying_goes_on_without_a_backend_and_leaves_its_directory_behind()
    {
        await _toolstack.AddAtCreationAsync(Guest, Nic);
        await _toolstack.AddAtCreationAsync(Guest, Disk);
        var impatient = new SimulatedToolstack(_store, TimeSpan.FromMilliseconds(20));
        await impatient.RemoveDevicesAsync(Guest);
        await impatient.RemoveDomainAsync(Guest);
        Assert.False(await _store.ExistsAsync(Frontend));
        Assert.True(await _store.ExistsAsync(Backend));
    }

    private async Task<IEnumerable<string>> DumpAsync(XenStorePath directory)
    {
        var names = await _store.ListAsync(directory) ?? [];
        return await Task.WhenAll(names.Order(StringComparer.Ordinal).Select(async n => $"{n}={await _store.ReadAsync(directory / n)}"));
    }

    private async Task<IReadOnlyList<XenStorePermission>?> PermissionsAsync(string path) =>
        XenStorePath.TryParse(path, out var parsed) ? await _store.GetPermissionsAsync(parsed) : null;

    private Task WaitForAsync(XenStorePath path, string value) =>
        Eventually.EqualAsync(value, () => _store.ReadAsync(path));
}
