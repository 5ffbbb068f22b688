using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests;

/// <summary>A daemon ends and another one adopts its guests, who notice nothing.</summary>
public class AdoptionTests
{
    [Fact]
    public async Task The_guest_sees_the_same_config_space_before_and_after()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).WriteAsync(Register.Command, 0x0546);
        await guest.Device(0).WriteAsync(Register.Bar(0), uint.MaxValue);
        var before = await EverythingAsync(guest);
        await dom0.RestartDaemonAsync();
        Assert.Equal(before, await EverythingAsync(guest));
        Assert.Equal(0x0546u, await guest.Device(0).ReadAsync(Register.Command));
        Assert.Equal(0xFFFE_0000u, await guest.Device(0).ReadAsync(Register.Bar(0)));
    }

    [Fact]
    public async Task The_next_daemon_knows_what_the_guest_has_enabled()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        await guest.Device(0).EnableMsixAsync(0, 1, 2);
        await dom0.RestartDaemonAsync();
        Assert.Equal(-114, (await guest.Device(0).EnableMsixAsync(0)).Error);
        Assert.Equal(3, dom0.Xen.Pirqs.Of(guest.Id).Length);
        Assert.Equal(0, (await guest.Device(0).DisableMsixAsync()).Error);
        Assert.Equal(0, dom0.Xen.Pirqs.Mapped);
    }

    [Fact]
    public async Task A_request_that_comes_while_no_daemon_runs_is_answered_by_the_next()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var patient = new FrontendOptions { RequestTimeout = Eventually.Patience };
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], patient);
        await dom0.StopDaemonAsync();
        var answer = guest.Device(0).ReadAsync(Register.Ids);
        await dom0.StartDaemonAsync();
        Assert.Equal(NicIds, await answer);
    }

    [Fact]
    public async Task A_guest_whose_port_a_dead_daemon_still_holds_is_served_once_it_is_free()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.StopDaemonAsync();
        // One of its threads is inside an access to the guest's device.
        var held = dom0.Xen.OpenHost().EventChannels.Open();
        held.Bind(guest.Id, guest.Frontend.Port.Number);
        var tries = dom0.Xen.Faults.Watch(FaultPoint.PortBind, guest: guest.Id);
        await dom0.StartDaemonAsync();
        await Eventually.IsTrueAsync(() =>
        {
            dom0.Advance(TimeSpan.FromMilliseconds(100));
            return tries.Struck > 20;
        });
        Assert.Equal("4", await dom0.ReadAsync(guest, "state"));

        held.Dispose();
        var answer = guest.Device(0).ReadAsync(Register.Ids);
        await dom0.AdvanceUntilDoneAsync(answer);
        Assert.Equal(NicIds, await answer);
    }

    [Fact]
    public async Task A_guest_whose_port_is_never_free_is_refused()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.StopDaemonAsync();
        dom0.Xen.OpenHost().EventChannels.Open().Bind(guest.Id, guest.Frontend.Port.Number);
        await dom0.StartDaemonAsync();
        await Eventually.IsTrueAsync(async () =>
        {
            dom0.Advance(TimeSpan.FromSeconds(1));
            return (await dom0.ReadErrorAsync(guest))?.Contains(
                "xenevtchn_bind_interdomain", StringComparison.Ordinal) is true;
        });
    }

    [Fact]
    public async Task What_a_guest_leaves_while_no_daemon_runs_is_given_back_by_the_next()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var nic = dom0.Xen.Pci[Nic];
        nic.Write(Register.InterruptLine.Offset, 1, 0x0A);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).EnableMsiAsync();
        nic.Write(Register.InterruptLine.Offset, 1, 0x0B);
        await dom0.StopDaemonAsync();
        await dom0.Store.RemoveAsync(TestDom0.BackendOf(guest));
        await dom0.StartDaemonAsync();

        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
        Assert.Equal(0u, nic.Read(NicRegister.MsiControl.Offset, 2) & 1);
        Assert.Equal(0x0Au, nic.Read(Register.InterruptLine.Offset, 1));
        var next = await dom0.ConnectedGuestAsync("next", Nic);
        Assert.Equal(NicIds, await next.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task A_device_that_its_dead_guest_still_has_on_record_is_given_back_before_the_next_guest_has_it()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var nic = dom0.Xen.Pci[Nic];
        nic.Write(Register.InterruptLine.Offset, 1, 0x0A);
        var dead = await dom0.ConnectedGuestAsync("web", Nic);
        nic.Write(Register.InterruptLine.Offset, 1, 0x0B);
        await dom0.StopDaemonAsync();
        // The toolstack waits for a backend that is not there.
        await dom0.AdvanceUntilDoneAsync(dom0.Xen.DestroyGuestAsync(dead));
        var next = await dom0.Xen.CreateGuestAsync("next", [Nic]);
        await dom0.StartDaemonAsync();
        await next.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        Assert.Equal(0x0Au, nic.Read(Register.InterruptLine.Offset, 1));
        await Eventually.EqualAsync(1, () => dom0.Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_guest_that_is_gone_leaves_no_record()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Sata);
        Assert.Equal(2, dom0.Xen.DeviceRecords.Count);
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
    }

    private static async Task<uint[]> EverythingAsync(SimulatedGuest guest)
    {
        var everything = new uint[64];
        for (var i = 0; i < everything.Length; i++) everything[i] = await guest.Device(0).ReadAsync(new Register(4 * i, 4));
        return everything;
    }
}
