using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests;

/// <summary>xenstored goes away and comes back, with what it had or without.</summary>
public class XenStoreLossTests() : BackendTest("akka { loglevel = ERROR, stdout-loglevel = OFF, log-dead-letters = off }")
{
    private const string ServedOn = "it keeps its devices and is served until it ends", KeptOnly = "it cannot be served, and keeps its devices until it ends";

    private Task WhenLoggedAsync(string text, Func<Task> act) => CreateEventFilter(Sys).Error(contains: text).ExpectAsync(1, Patience, act);

    [Fact]
    public async Task A_guest_that_runs_is_served_on_when_xenstored_has_lost_everything()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await WhenLoggedAsync(ServedOn, () => Xen.RestartXenStoredAsync(keepState: false));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), Xen.HeldByDom0);
    }

    [Fact]
    public async Task Its_devices_are_given_back_when_it_ends_though_nobody_announces_that()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await WhenLoggedAsync(ServedOn, () => Xen.RestartXenStoredAsync(keepState: false));
        await Xen.CrashGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_daemon_that_finds_it_lost_leaves_the_device_with_the_guest_until_that_ends()
    {
        var nic = Intel82574.At(HostBdf.Parse("0000:06:00.0")).Resettable();
        Xen.Pci.Plug(nic);
        var guest = await ConnectedGuestAsync("web", nic.Bdf);
        Process.Kill();
        await StopBackendAsync();
        await Xen.RestartXenStoredAsync(keepState: false);
        await WhenLoggedAsync(KeptOnly, () => StartBackendAsync());
        Assert.Equal(0, Xen.Pci[nic.Bdf].Resets);

        await Xen.CrashGuestAsync(guest);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
        Assert.Equal(1, Xen.Pci[nic.Bdf].Resets);
    }

    [Fact]
    public async Task New_guests_are_served_by_a_xenstored_that_has_begun_anew()
    {
        await ConnectedGuestAsync("web", Nic);
        await WhenLoggedAsync(ServedOn, () => Xen.RestartXenStoredAsync(keepState: false));
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(await ConnectedGuestAsync("lab", Edu), 0, 0, 4));
    }

    [Fact]
    public async Task Nothing_is_missed_that_happens_while_xenstored_is_restarted_a_hundred_times()
    {
        var stays = await ConnectedGuestAsync("stays", Nic);
        SimulatedGuest? comes = null;
        for (var restart = 0; restart < 100; restart++)
        {
            await Xen.RestartXenStoredAsync();
            // The toolstack may be back before the daemon is.
            if (restart % 2 == 0) await Xen.Toolstack.AttachAsync(stays.Id, Edu);
            else await Xen.Toolstack.DetachAsync(stays.Id, Edu);
            await stays.Frontend.WaitUntilAsync(frontend => frontend.Devices.Length == 2 - restart % 2, Soon());
            if (restart % 10 == 3) comes = await Xen.CreateGuestAsync("comes", [Sata]);
            else if (restart % 10 == 7) await Xen.DestroyGuestAsync(comes!);
            else if (restart % 10 == 5) await comes!.Frontend.WaitUntilConnectedAsync(Soon());
        }
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(stays, 0, 0, 4));
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
    }
}
