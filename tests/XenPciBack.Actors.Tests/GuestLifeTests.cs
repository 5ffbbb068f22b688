using System.Diagnostics;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.Simulation;

namespace XenPciBack.Actors.Tests;

/// <summary>From xl create to xl destroy, as the guest and the toolstack see it.</summary>
public class GuestLifeTests : BackendTest
{
    [Fact]
    public async Task A_guest_with_two_devices_connects_and_finds_both()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        Assert.Equal(["0000:00:00.0 8086:10d3", "0000:00:01.0 1234:11e8"], guest.Frontend.Devices.Select(d => $"{d.Address} {d.VendorId:x4}:{d.DeviceId:x4}"));
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task The_backend_directory_is_what_the_kernels_backend_leaves()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        var written = new Dictionary<string, string?>();
        foreach (var name in await Store.ListAsync(BackendOf(guest)) ?? []) written[name] = await ReadAsync(guest, name);
        Assert.Equal(
            new SortedDictionary<string, string?>
            {
                ["frontend"] = $"/local/domain/{guest.Id}/device/pci/0", ["frontend-id"] = $"{guest.Id}", ["online"] = "1", ["state"] = "4", ["domain"] = "web",
                ["num_devs"] = "2", ["root-0"] = "0000:00", ["root_num"] = "1",
                ["key-0"] = "0000:03:00.0", ["dev-0"] = "0000:03:00.0", ["opts-0"] = PciDeviceOptions.Default, ["state-0"] = "3", ["vdev-0"] = "0000:00:00.00",
                ["key-1"] = "0000:05:01.0", ["dev-1"] = "0000:05:01.0", ["opts-1"] = PciDeviceOptions.Default, ["state-1"] = "3", ["vdev-1"] = "0000:00:01.00",
            },
            new SortedDictionary<string, string?>(written));
        var permissions = await Store.GetPermissionsAsync(BackendOf(guest) / "vdev-0");
        Assert.Equal(["n0", $"r{guest.Id}"], permissions!.Select(p => p.ToString()));
    }

    [Fact]
    public async Task Functions_of_one_device_share_a_slot_under_their_own_numbers()
    {
        var guest = await ConnectedGuestAsync("storage", Sata, Smbus);
        Assert.Equal(["0000:00:00.2", "0000:00:00.3"], guest.Frontend.Devices.Select(d => d.Address));
    }

    [Fact]
    public async Task A_frontend_that_publishes_and_switches_state_in_one_transaction_connects_too()
    {
        var guest = await Xen.CreateGuestAsync("mini-os", [Edu], new FrontendOptions { SwitchesStateInTransaction = true, TakesAer = false });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.Single(guest.Frontend.Devices);
    }

    [Fact]
    public async Task Destroying_a_guest_releases_page_port_and_devices_and_leaves_nothing_in_the_store()
    {
        var gone = await ConnectedGuestAsync("web", Nic);
        var stays = await ConnectedGuestAsync("lab", Edu);
        await Xen.DestroyGuestAsync(gone);

        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
        Assert.Null(await Store.ListAsync(BackendOf(gone)));
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(stays, 0, 0, 4));
    }

    [Fact]
    public async Task A_guest_that_crashes_is_let_go_once_the_toolstack_removes_it()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await Xen.CrashGuestAsync(guest);
        await Store.RemoveAsync(BackendOf(guest).Parent);
        await Xen.Toolstack.RemoveDomainAsync(guest.Id);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_dead_guest_does_not_keep_the_toolstack_from_removing_it_and_nothing_is_left()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await Xen.CrashGuestAsync(guest);
        await Xen.Toolstack.RemoveDevicesAsync(guest.Id);
        Assert.Null(await Store.ListAsync(BackendOf(guest)));
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_guest_that_shuts_down_is_taken_down_at_once_with_nothing_left_behind()
    {
        await RestartBackendAsync(Settings with { HotPlugPatience = TimeSpan.FromHours(1) });
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await Xen.ShutDownGuestAsync(guest);
        // libxl leaves it where its patience has passed.
        Assert.False(await Store.ExistsAsync(BackendOf(guest)));
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_driver_that_is_unbound_in_its_guest_and_bound_again_finds_its_devices()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await guest.Frontend.UnbindAsync();
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        await guest.Frontend.BindAsync();
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.Equal(2, guest.Frontend.Devices.Length);
    }

    [Fact]
    public async Task A_connection_that_was_closed_stays_so_for_as_long_as_a_frontend_needs_to_see_it()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var closing = Stopwatch.GetTimestamp();
        await guest.Frontend.UnbindAsync();
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        Assert.True(Stopwatch.GetElapsedTime(closing) >= GuestActor.ReopeningPause);
    }

    [Fact]
    public async Task What_the_toolstack_leaves_of_a_guest_that_shut_down_is_removed_once_its_domain_is_gone()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await guest.Frontend.CloseAsync();
        await EventuallyAsync("5", () => ReadAsync(guest, "state"));
        await Xen.CrashGuestAsync(guest);
        await Xen.Toolstack.RemoveDomainAsync(guest.Id);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.NotNull(await ReadAsync(guest, "state"));

        Xen.XenStored.ReleaseDomain(guest.Id.Value);
        await EventuallyAsync(false, () => Store.ExistsAsync(BackendOf(guest).Parent));
    }

    [Fact]
    public async Task Directories_left_by_domains_of_the_past_are_removed_at_the_start_and_others_are_not()
    {
        await StopBackendAsync();
        await Store.WriteAsync(SimulatedToolstack.BackendOf(new DomainId(77)) / "frontend", "/local/domain/77/device/pci/0");
        await Store.WriteAsync(SimulatedToolstack.BackendOf(new DomainId(78)) / "frontend", "/local/domain/78/device/pci/0");
        await Store.WriteAsync(SimulatedToolstack.FrontendOf(new DomainId(78)) / "state", "1");
        await StartBackendAsync();
        Assert.False(await Store.ExistsAsync(SimulatedToolstack.BackendOf(new DomainId(77)).Parent));
        Assert.True(await Store.ExistsAsync(SimulatedToolstack.BackendOf(new DomainId(78))));
    }

    [Fact]
    public async Task A_device_let_go_by_one_guest_serves_the_next()
    {
        for (var i = 0; i < 3; i++)
        {
            var guest = await ConnectedGuestAsync($"web{i}", Nic);
            await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0546);
            await Xen.DestroyGuestAsync(guest);
            await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        }
        Assert.Equal(0x10D3_8086u, Xen.Pci[Nic].Read(0, 4));
    }

    [Fact]
    public async Task Devices_come_to_and_leave_a_running_guest()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await guest.Frontend.WaitUntilAsync(f => f.Devices.Length == 2, Soon());
        await Xen.Toolstack.DetachAsync(guest.Id, Nic);
        await guest.Frontend.WaitUntilAsync(f => f.Devices.Length == 1, Soon());
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 0x08, 0, 4));
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_new_backend_takes_up_connected_guests_without_touching_their_state()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        await guest.Frontend.WriteConfigAsync(0, 0, 0, 0x0C, 1, 0x08);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        await StopBackendAsync();
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.Equal(0, Xen.Pci[Edu].Resets + Xen.Pci[Nic].Resets);

        var changes = 0;
        await using var watch = await Store.WatchAsync(BackendOf(guest), () => Interlocked.Increment(ref changes));
        await StartBackendAsync();
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 2), () => Xen.HeldByDom0);

        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 0x08, 0, 4));
        Assert.Equal(0x08u, await ReadConfigAsync(guest, 0, 0x0C, 1));
        // The one call is the watch's own registration.
        Assert.Equal(1, changes);
    }

    [Fact]
    public async Task A_guest_whose_device_is_still_on_its_way_back_from_another_waits_for_it()
    {
        var first = await ConnectedGuestAsync("first", Nic);
        using var reset = Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Nic);
        await Xen.CrashGuestAsync(first);
        await Store.RemoveAsync(BackendOf(first));
        await EventuallyAsync(1, () => reset.Struck);
        var next = await Xen.CreateGuestAsync("next", [Nic]);
        await EventuallyAsync("2", () => ReadAsync(next, "state"));
        reset.Dispose();
        await next.Frontend.WaitUntilConnectedAsync(Soon());
    }
}
