using Akka.Actor;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;

namespace XenPciBack.Backend.Tests;

/// <summary>A device that does not answer holds up its own guest, and an operator sees it.</summary>
public sealed class SlowDeviceTests
{
    private static ArmedFault Hang(TestDom0 dom0, HostBdf device) =>
        dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Stall, device: device, duration: Eventually.Patience);

    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    public async Task Every_other_guest_is_answered_while_it_hangs(int loops)
    {
        await using var dom0 = await TestDom0.StartAsync(TestDom0.Settings with { Loops = loops });
        var (stuck, free) =
            (await dom0.ConnectedGuestAsync("stuck", Nic), await dom0.ConnectedGuestAsync("free", Sata));
        using var hang = Hang(dom0, Nic);
        var unanswered = stuck.Device(0).ReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => hang.Struck);

        for (var i = 0; i < 100; i++) await free.Device(0).ReadAsync(Register.Revision);
        var late = await dom0.ConnectedGuestAsync("late", Smbus);
        await late.Device(0).ReadAsync(Register.Revision);
        await dom0.Xen.DestroyGuestAsync(late);
        Assert.False(unanswered.IsCompleted);

        hang.Dispose();
        await unanswered;
        await stuck.Device(0).ReadAsync(Register.Revision);
    }

    [Fact]
    public async Task It_is_named_once_with_its_guest_and_register_and_counted()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var hang = Hang(dom0, Nic);
        var unanswered = guest.Device(0).ReadAsync(Register.Revision);

        var slow = await dom0.Events.NextAsync<BackendEvents.DeviceSlow>();
        Assert.Equal((guest.Id, Nic, "a read of register 0x08"), (slow.Guest, slow.Device, slow.Access));
        Assert.Equal(1, dom0.Measured.Sum("xenpciback.device.slow_accesses"));
        Assert.InRange((await StatusAsync(dom0)).UnansweredSeconds!.Value, 1, 1000);
        var incident = await dom0.Events.NextAsync<Incident>();
        Assert.Equal((IncidentKind.DeviceSlow, guest.Id, Nic), (incident.Kind, incident.Guest, incident.Device));

        hang.Dispose();
        await unanswered;
        await Eventually.IsTrueAsync(async () => (await StatusAsync(dom0)).UnansweredSeconds is null);
        Assert.Single(await dom0.Events.AllOfAsync<BackendEvents.DeviceSlow>());
    }

    [Fact]
    public async Task Its_guest_still_closes_its_connection()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        using var hang = Hang(dom0, Nic);
        var unanswered = guest.Device(0).ReadAsync(Register.Revision);
        await Eventually.EqualAsync(1, () => hang.Struck);
        await guest.Frontend.WriteStateAsync(5);
        // The port is closed; page and function wait for the access.
        await Eventually.EqualAsync(new Held(Pages: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
        hang.Dispose();
        await Eventually.EqualAsync(new Held(Functions: 1), () => dom0.Xen.HeldByDom0);
    }

    private static async Task<DeviceStatus> StatusAsync(TestDom0 dom0) =>
        (await dom0.StatusKeeper.Ask<HostStatus>(GetStatus.Instance, Eventually.Patience)).Guests[0].Devices[0];
}
