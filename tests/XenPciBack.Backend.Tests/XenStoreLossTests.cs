using Akka.Event;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests;

/// <summary>xenstored goes away and comes back, with what it had or without.</summary>
public class XenStoreLossTests
{
    private const string WithErrors = "akka.loglevel = ERROR";
    private const string ServedOn = "it keeps its devices and is served until it ends";
    private const string KeptOnly = "it cannot be served, and keeps its devices until it ends";

    private static Task LoggedAsync(TestDom0 dom0, string text) => Eventually.EqualAsync(
        1, () => dom0.Events.Of<Error>().Count(line => $"{line.Message}".Contains(text, StringComparison.Ordinal)));

    [Fact]
    public async Task A_guest_that_runs_is_served_on_when_xenstored_has_lost_everything()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithErrors);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.RestartXenStoredAsync(keepState: false);
        await LoggedAsync(dom0, ServedOn);
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Its_devices_are_given_back_when_it_ends_though_nobody_announces_that()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithErrors);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.RestartXenStoredAsync(keepState: false);
        await LoggedAsync(dom0, ServedOn);
        await dom0.Xen.CrashGuestAsync(guest);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_daemon_that_finds_it_lost_leaves_the_device_with_the_guest_until_that_ends()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithErrors);
        dom0.Xen.Pci.Plug(Intel82574.At(Spare).Resettable());
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        dom0.Process.Kill();
        await dom0.StopDaemonAsync();
        await dom0.Xen.RestartXenStoredAsync(keepState: false);
        await dom0.StartDaemonAsync();
        await LoggedAsync(dom0, KeptOnly);
        Assert.Equal(0, dom0.Xen.Pci[Spare].Resets);

        await dom0.Xen.CrashGuestAsync(guest);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
        Assert.Equal(1, dom0.Xen.Pci[Spare].Resets);
    }

    [Fact]
    public async Task New_guests_are_served_by_a_xenstored_that_began_without_what_it_had()
    {
        await using var dom0 = await TestDom0.StartAsync(akka: WithErrors);
        await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.RestartXenStoredAsync(keepState: false);
        await LoggedAsync(dom0, ServedOn);
        var next = await dom0.ConnectedGuestAsync("lab", Edu);
        Assert.Equal(EduIds, await next.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task Nothing_is_missed_that_happens_while_xenstored_is_restarted_a_hundred_times()
    {
        // However busy the machine is, no change of a guest's devices is carried out without its frontend.
        await using var dom0 = await TestDom0.StartAsync(
            TestDom0.Settings with { HotPlugPatience = Eventually.Patience });
        var stays = await dom0.ConnectedGuestAsync("stays", Nic);
        SimulatedGuest? comes = null;
        for (var restart = 0; restart < 100; restart++)
        {
            await dom0.Xen.RestartXenStoredAsync();
            // The toolstack may be back before the daemon is.
            if (restart % 2 == 0) await dom0.Xen.Toolstack.AttachAsync(stays.Id, Edu);
            else await dom0.Xen.Toolstack.DetachAsync(stays.Id, Edu);
            var devices = 2 - restart % 2;
            await stays.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == devices, Eventually.Limit);
            if (restart % 10 == 3) comes = await dom0.Xen.CreateGuestAsync("comes", [Sata]);
            else if (restart % 10 == 7) await dom0.Xen.DestroyGuestAsync(comes!);
            else if (restart % 10 == 5) await comes!.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        }
        Assert.Equal(NicIds, await stays.Device(0).ReadAsync(Register.Ids));
        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
    }
}
