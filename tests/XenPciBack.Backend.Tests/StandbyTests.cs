using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;

namespace XenPciBack.Backend.Tests;

/// <summary>A second daemon has everything ready, holds nothing of a guest, and serves when its turn comes.</summary>
public class StandbyTests
{
    [Fact]
    public async Task It_takes_the_guests_over_as_they_are()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var (web, lab) = (await dom0.ConnectedGuestAsync("web", Nic), await dom0.ConnectedGuestAsync("lab", Edu));
        await web.Device(0).WriteAsync(Register.Command, 0x0146);
        var standby = await dom0.StartStandbyAsync();
        await lab.Device(0).TurnOnAsync();
        Assert.Equal(0, (await lab.Device(0).EnableMsiAsync()).Error);

        dom0.Process.Kill();
        await dom0.LetTakeOverAsync(standby);
        Assert.Equal(-1, (await web.DeviceAt("0000:00:01.0").TryReadAsync(Register.Ids)).Error);
        Assert.Equal(0x0146u, await web.Device(0).ReadAsync(Register.Command));
        Assert.Equal(EduIds, await lab.Device(0).ReadAsync(Register.Ids));
        Assert.Equal((4, 4), (web.Frontend.State, lab.Frontend.State));
        // Enabled under the daemon before, when this one had opened the device already.
        Assert.Equal(0, (await lab.Device(0).DisableMsiAsync()).Error);
        Assert.Equal(0, dom0.Xen.Pirqs.Mapped);
    }

    [Fact]
    public async Task Until_its_turn_it_has_no_page_and_no_port_and_changes_nothing()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var started = await dom0.WaitingGuestAsync(Edu);
        await dom0.StartStandbyAsync();
        Assert.Equal((1, 1), (dom0.Xen.HeldByDom0.Pages, dom0.Xen.HeldByDom0.Ports));
        dom0.Xen.Aer.Inject(Nic, AerSeverity.Correctable, 1);
        await Eventually.EqualAsync(1, () => dom0.Xen.Aer.Watchers);
        await dom0.Xen.DestroyGuestAsync(guest);
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync(new Held(Functions: 2), () => dom0.Xen.HeldByDom0));
        Assert.Equal("3", await dom0.ReadAsync(started, "state"));
    }

    [Fact]
    public async Task It_follows_what_happens_before_its_turn()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var gone = await dom0.ConnectedGuestAsync("gone", Sata);
        var changed = await dom0.ConnectedGuestAsync("changed", Nic);
        var standby = await dom0.StartStandbyAsync();
        await dom0.Xen.DestroyGuestAsync(gone);
        await dom0.Xen.Toolstack.AttachAsync(changed.Id, Smbus);
        await Eventually.EqualAsync(2, () => changed.Frontend.Devices.Length);
        var created = await dom0.ConnectedGuestAsync("created", Edu);
        // Nic and Smbus by both daemons, and Edu.
        var held = new Held(Pages: 2, Ports: 2, Functions: 6);
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync(held, () => dom0.Xen.HeldByDom0));

        dom0.Process.Kill();
        await dom0.LetTakeOverAsync(standby);
        Assert.Equal(NicIds, await changed.Device(0).ReadAsync(Register.Ids));
        Assert.Equal(SmbusIds, await changed.DeviceAt("0000:00:01.3").ReadAsync(Register.Ids));
        Assert.Equal(EduIds, await created.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task What_happened_right_before_its_turn_it_finds_out_after_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var standby = await dom0.StartStandbyAsync();
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await Eventually.EqualAsync(2, () => guest.Frontend.Devices.Length);
        dom0.Process.Kill();
        await dom0.LetTakeOverAsync(standby);
        Assert.Equal(EduIds, await guest.DeviceAt("0000:00:01.0").ReadAsync(Register.Ids));
        Assert.Equal(-1, (await guest.DeviceAt("0000:00:02.0").TryReadAsync(Register.Ids)).Error);
        Assert.Equal(4, guest.Frontend.State);
    }

    [Fact]
    public async Task A_guest_that_was_connecting_when_its_turn_came_connects()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var standby = await dom0.StartStandbyAsync();
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic]);
        dom0.Process.Kill();
        await dom0.LetTakeOverAsync(standby);
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
    }
}
