using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation;

namespace XenPciBack.Actors.Tests;

/// <summary>A second daemon has everything ready, holds nothing of a guest, and serves when its turn comes.</summary>
public class StandbyTests : BackendTest
{
    private const uint NicIds = 0x10D3_8086, EduIds = 0x11E8_1234;
    private const int Command = 0x04;

    [Fact]
    public async Task It_takes_the_guests_over_as_they_are()
    {
        var (web, lab) = (await ConnectedGuestAsync("web", Nic), await ConnectedGuestAsync("lab", Edu));
        await web.Frontend.WriteConfigAsync(0, 0, 0, Command, 2, 0x0146);
        var standby = await StartStandbyAsync();
        await TurnOnMemoryAsync(lab);
        Assert.Equal(0, (await AskAsync(lab, EnableMsi)).Error);

        Process.Kill();
        await LetTakeOverAsync(standby);
        Assert.Equal(-1, (await web.Frontend.ReadConfigAsync(0, 0, 8, 0, 4)).Error);
        Assert.Equal(0x0146u, await ReadConfigAsync(web, 0, Command, 2));
        Assert.Equal(EduIds, await ReadConfigAsync(lab, 0, 0, 4));
        Assert.Equal((4, 4), (web.Frontend.State, lab.Frontend.State));
        // Enabled under the daemon before, when this one had opened the device already.
        Assert.Equal(0, (await AskAsync(lab, DisableMsi)).Error);
        Assert.Equal(0, Xen.Pirqs.Mapped);
    }

    [Fact]
    public async Task Until_its_turn_it_has_no_page_and_no_port_and_changes_nothing()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var started = await Xen.CreateGuestAsync("lab", [Edu], new FrontendOptions { IsSilent = true });
        await EventuallyAsync("3", () => ReadAsync(started, "state"));
        await StartStandbyAsync();
        Assert.Equal((1, 1), (Xen.HeldByDom0.Pages, Xen.HeldByDom0.Ports));
        Xen.Aer.Inject(Nic, Protocol.Aer.AerSeverity.Correctable, 1);
        await EventuallyAsync(1, () => Xen.Aer.Watchers);
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(new Held(Functions: 2), () => Xen.HeldByDom0);
        Assert.Equal("3", await ReadAsync(started, "state"));
    }

    [Fact]
    public async Task It_follows_what_happens_before_its_turn()
    {
        var (gone, changed) = (await ConnectedGuestAsync("gone", Sata), await ConnectedGuestAsync("changed", Nic));
        var standby = await StartStandbyAsync();
        await Xen.DestroyGuestAsync(gone);
        await Xen.Toolstack.AttachAsync(changed.Id, Smbus);
        await EventuallyAsync(2, () => changed.Frontend.Devices.Length);
        var created = await ConnectedGuestAsync("created", Edu);
        // Nic and Smbus by both daemons, and Edu.
        await EventuallyAsync(new Held(Pages: 2, Ports: 2, Functions: 6), () => Xen.HeldByDom0);

        Process.Kill();
        await LetTakeOverAsync(standby);
        Assert.Equal(NicIds, await ReadConfigAsync(changed, 0, 0, 4));
        Assert.Equal(0x2930_8086u, await ReadConfigAsync(changed, 11, 0, 4));
        Assert.Equal(EduIds, await ReadConfigAsync(created, 0, 0, 4));
    }

    [Fact]
    public async Task What_happened_right_before_its_turn_it_finds_out_after_it()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var standby = await StartStandbyAsync();
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await EventuallyAsync(2, () => guest.Frontend.Devices.Length);
        Process.Kill();
        await LetTakeOverAsync(standby);
        Assert.Equal(EduIds, await ReadConfigAsync(guest, 8, 0, 4));
        Assert.Equal((-1, 4), ((await guest.Frontend.ReadConfigAsync(0, 0, 16, 0, 4)).Error, guest.Frontend.State));
    }

    [Fact]
    public async Task A_guest_that_was_connecting_when_its_turn_came_connects()
    {
        var standby = await StartStandbyAsync();
        var guest = await Xen.CreateGuestAsync("web", [Nic]);
        Process.Kill();
        await LetTakeOverAsync(standby);
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.Equal(NicIds, await ReadConfigAsync(guest, 0, 0, 4));
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
    }
}
