using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Backend.Tests;

/// <summary>From xl create to xl destroy, as the guest and the toolstack see it.</summary>
public class GuestLifeTests
{
    [Fact]
    public async Task A_guest_with_two_devices_connects_and_finds_both()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        Assert.Equal(
            ["0000:00:00.0 8086:10d3", "0000:00:01.0 1234:11e8"],
            guest.Frontend.Devices.Select(device => $"{device.Address} {device.VendorId:x4}:{device.DeviceId:x4}"));
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task The_backend_directory_is_what_the_kernels_backend_leaves()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        var written = new Dictionary<string, string?>();
        foreach (var name in await dom0.Store.ListAsync(TestDom0.BackendOf(guest)) ?? [])
            written[name] = await dom0.ReadAsync(guest, name);
        Assert.Equal(
            new SortedDictionary<string, string?>
            {
                ["frontend"] = $"/local/domain/{guest.Id}/device/pci/0", ["frontend-id"] = $"{guest.Id}",
                ["online"] = "1", ["state"] = "4", ["domain"] = "web",
                ["num_devs"] = "2", ["root-0"] = "0000:00", ["root_num"] = "1",
                ["key-0"] = "0000:03:00.0", ["dev-0"] = "0000:03:00.0",
                ["opts-0"] = PciDeviceOptions.Default, ["state-0"] = "3", ["vdev-0"] = "0000:00:00.00",
                ["key-1"] = "0000:05:01.0", ["dev-1"] = "0000:05:01.0",
                ["opts-1"] = PciDeviceOptions.Default, ["state-1"] = "3", ["vdev-1"] = "0000:00:01.00",
            },
            new SortedDictionary<string, string?>(written));
        var permissions = await dom0.Store.GetPermissionsAsync(TestDom0.BackendOf(guest) / "vdev-0");
        Assert.Equal(["n0", $"r{guest.Id}"], permissions!.Select(p => p.ToString()));
    }

    [Fact]
    public async Task Functions_of_one_device_share_a_slot_under_their_own_numbers()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("storage", Sata, Smbus);
        Assert.Equal(["0000:00:00.2", "0000:00:00.3"], guest.Frontend.Devices.Select(d => d.Address));
    }

    [Fact]
    public async Task A_frontend_that_publishes_and_switches_state_in_one_transaction_connects_too()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var miniOs = new FrontendOptions { SwitchesStateInTransaction = true, TakesAer = false };
        var guest = await dom0.ConnectedGuestAsync("mini-os", [Edu], miniOs);
        Assert.Single(guest.Frontend.Devices);
    }

    [Fact]
    public async Task Destroying_a_guest_releases_page_port_and_devices_and_leaves_nothing_in_the_store()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var gone = await dom0.ConnectedGuestAsync("web", Nic);
        var stays = await dom0.ConnectedGuestAsync("lab", Edu);
        await dom0.Xen.DestroyGuestAsync(gone);

        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
        Assert.Null(await dom0.Store.ListAsync(TestDom0.BackendOf(gone)));
        Assert.Equal(EduIds, await stays.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task What_a_crashed_guest_had_is_given_back_once_the_toolstack_has_removed_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.CrashGuestAsync(guest);
        await dom0.Store.RemoveAsync(TestDom0.BackendOf(guest).Parent);
        await dom0.Xen.Toolstack.RemoveDomainAsync(guest.Id);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_dead_guest_does_not_keep_the_toolstack_from_removing_it_and_nothing_is_left()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await dom0.Xen.CrashGuestAsync(guest);
        await dom0.Xen.Toolstack.RemoveDevicesAsync(guest.Id);
        Assert.Null(await dom0.Store.ListAsync(TestDom0.BackendOf(guest)));
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_guest_that_shuts_down_is_taken_down_at_once_with_nothing_left_behind()
    {
        // No patience ever ends: time stands still.
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await dom0.Xen.ShutDownGuestAsync(guest);
        // libxl leaves it where its patience has passed.
        Assert.False(await dom0.Store.ExistsAsync(TestDom0.BackendOf(guest)));
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_driver_that_is_unbound_in_its_guest_and_bound_again_finds_its_devices()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await guest.Frontend.UnbindAsync();
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state")));
        await guest.Frontend.BindAsync();
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.Equal(2, guest.Frontend.Devices.Length);
    }

    [Fact]
    public async Task A_connection_that_was_closed_stays_so_for_as_long_as_a_frontend_needs_to_see_it()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Frontend.UnbindAsync();
        await Eventually.EqualAsync("6", () => dom0.ReadAsync(guest, "state"));
        var closed = dom0.Xen.Clock.GetTimestamp();
        var step = TimeSpan.FromMilliseconds(10);
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state")), step);
        Assert.True(dom0.Xen.Clock.GetElapsedTime(closed) >= GuestActor.ReopeningPause);
    }

    [Fact]
    public async Task What_the_toolstack_leaves_of_a_guest_that_shut_down_is_removed_once_its_domain_is_gone()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await guest.Frontend.CloseAsync();
        await Eventually.EqualAsync("5", () => dom0.ReadAsync(guest, "state"));
        await dom0.Xen.CrashGuestAsync(guest);
        await dom0.Xen.Toolstack.RemoveDomainAsync(guest.Id);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.NotNull(await dom0.ReadAsync(guest, "state"));

        dom0.Xen.XenStored.ReleaseDomain(guest.Id.Value);
        await Eventually.EqualAsync(false, () => dom0.Store.ExistsAsync(TestDom0.BackendOf(guest).Parent));
    }

    [Fact]
    public async Task Directories_left_by_domains_of_the_past_are_removed_at_the_start_and_others_are_not()
    {
        await using var dom0 = await TestDom0.StartAsync(withDaemon: false);
        var (gone, unknown) = (new DomainId(77), new DomainId(78));
        foreach (var guest in (DomainId[])[gone, unknown])
        {
            var frontend = SimulatedToolstack.FrontendOf(guest);
            await dom0.Store.WriteAsync(SimulatedToolstack.BackendOf(guest) / "frontend", frontend.Text);
        }
        await dom0.Store.WriteAsync(SimulatedToolstack.FrontendOf(unknown) / "state", "1");
        await dom0.StartDaemonAsync();
        Assert.False(await dom0.Store.ExistsAsync(SimulatedToolstack.BackendOf(gone).Parent));
        Assert.True(await dom0.Store.ExistsAsync(SimulatedToolstack.BackendOf(unknown)));
    }

    [Fact]
    public async Task A_device_given_back_by_one_guest_serves_the_next()
    {
        await using var dom0 = await TestDom0.StartAsync();
        for (var i = 0; i < 3; i++)
        {
            var guest = await dom0.ConnectedGuestAsync($"web{i}", Nic);
            await guest.Device(0).WriteAsync(Register.Command, 0x0546);
            await dom0.Xen.DestroyGuestAsync(guest);
            await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        }
        Assert.Equal(NicIds, dom0.Xen.Pci[Nic].Read(0, 4));
    }

    [Fact]
    public async Task Devices_come_to_and_leave_a_running_guest()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(f => f.Devices.Length == 2, Eventually.Limit);
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Nic);
        await guest.Frontend.WaitUntilAsync(f => f.Devices.Length == 1, Eventually.Limit);
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_new_daemon_adopts_connected_guests_without_touching_their_state()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        await guest.Device(0).WriteAsync(Register.CacheLineSize, 0x08);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        await dom0.StopDaemonAsync();
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.Equal(0, dom0.Xen.Pci[Edu].Resets + dom0.Xen.Pci[Nic].Resets);

        var changes = 0;
        var backend = TestDom0.BackendOf(guest);
        await using var watch = await dom0.Store.WatchAsync(backend, () => Interlocked.Increment(ref changes));
        await dom0.StartDaemonAsync();
        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 2), () => dom0.Xen.HeldByDom0);

        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        Assert.Equal(0x08u, await guest.Device(0).ReadAsync(Register.CacheLineSize));
        // The one call is the watch's own registration.
        Assert.Equal(1, changes);
    }

    [Fact]
    public async Task A_guest_whose_device_is_still_on_its_way_back_from_another_waits_for_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var first = await dom0.ConnectedGuestAsync("first", Nic);
        using var reset = dom0.Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Nic);
        await dom0.Xen.CrashGuestAsync(first);
        await dom0.Store.RemoveAsync(TestDom0.BackendOf(first));
        await Eventually.EqualAsync(1, () => reset.Struck);
        var next = await dom0.Xen.CreateGuestAsync("next", [Nic]);
        await Eventually.EqualAsync("2", () => dom0.ReadAsync(next, "state"));
        reset.Dispose();
        await next.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
    }
}
