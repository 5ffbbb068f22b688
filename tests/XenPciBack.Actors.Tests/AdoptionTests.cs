using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>A daemon ends and another one takes its guests up, who notice nothing.</summary>
public class AdoptionTests : BackendTest
{
    private const int Command = 0x04, Bar0 = 0x10, InterruptLine = 0x3C;

    protected override TimeSpan? ToolstackPatience => TimeSpan.FromMilliseconds(200);

    [Fact]
    public async Task The_guest_sees_the_same_config_space_before_and_after()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await WriteAsync(guest, Command, 2, 0x0546);
        await WriteAsync(guest, Bar0, 4, uint.MaxValue);
        var before = await EverythingAsync(guest);
        await RestartBackendAsync(Settings);
        Assert.Equal(before, await EverythingAsync(guest));
        Assert.Equal((0x0546u, 0xFFFE_0000u), (before[Command / 4] & 0xFFFF, before[Bar0 / 4]));
    }

    [Fact]
    public async Task The_next_daemon_knows_what_the_guest_has_enabled()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        await RestartBackendAsync(Settings);
        Assert.Equal(-114, (await EnableMsixAsync(guest, 0)).Error);
        Assert.Equal(3, Xen.Pirqs.Of(guest.Id).Length);
        Assert.Equal(0, (await AskAsync(guest, DisableMsix)).Error);
        Assert.Equal(0, Xen.Pirqs.Mapped);
    }

    [Fact]
    public async Task A_request_that_comes_while_no_daemon_runs_is_answered_by_the_next()
    {
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { RequestTimeout = Patience });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        await StopBackendAsync();
        var answer = guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4);
        await StartBackendAsync();
        Assert.Equal((0, 0x10D3_8086u), ((await answer).Error, (await answer).Value));
    }

    [Fact]
    public async Task What_a_guest_leaves_while_no_daemon_runs_is_given_back_by_the_next()
    {
        Xen.Pci[Nic].Write(InterruptLine, 1, 0x0A);
        var guest = await ConnectedGuestAsync("web", Nic);
        await AskAsync(guest, EnableMsi);
        Xen.Pci[Nic].Write(InterruptLine, 1, 0x0B);
        await StopBackendAsync();
        await Store.RemoveAsync(BackendOf(guest));
        await StartBackendAsync();

        await EventuallyAsync("nothing", () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
        Assert.Equal((0u, 0x0Au), (Xen.Pci[Nic].Read(0xD2, 2) & 1, Xen.Pci[Nic].Read(InterruptLine, 1)));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(await ConnectedGuestAsync("next", Nic), 0, 0, 4));
    }

    [Fact]
    public async Task A_device_that_its_dead_guest_still_has_on_record_is_given_back_before_the_next_guest_has_it()
    {
        Xen.Pci[Nic].Write(InterruptLine, 1, 0x0A);
        var dead = await ConnectedGuestAsync("web", Nic);
        Xen.Pci[Nic].Write(InterruptLine, 1, 0x0B);
        await StopBackendAsync();
        await Xen.DestroyGuestAsync(dead);
        var next = await Xen.CreateGuestAsync("next", [Nic]);
        await StartBackendAsync();
        await next.Frontend.WaitUntilConnectedAsync(Soon());
        Assert.Equal(0x0Au, Xen.Pci[Nic].Read(InterruptLine, 1));
        await EventuallyAsync(1, () => Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_guest_that_is_gone_leaves_no_record()
    {
        var guest = await ConnectedGuestAsync("web", Nic, Sata);
        Assert.Equal(2, Xen.DeviceRecords.Count);
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
    }

    private static async Task WriteAsync(SimulatedGuest guest, int offset, int size, uint value) =>
        Assert.Equal(0, (await guest.Frontend.WriteConfigAsync(0, 0, 0, offset, size, value)).Error);

    private static async Task<uint[]> EverythingAsync(SimulatedGuest guest)
    {
        var everything = new uint[64];
        for (var i = 0; i < everything.Length; i++) everything[i] = await ReadConfigAsync(guest, 0, 4 * i, 4);
        return everything;
    }
}
