using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>What fails, and who else notices: nobody.</summary>
public class FailureTests : BackendTest
{
    [Fact]
    public async Task A_fault_in_one_device_ends_its_guest_only_and_gives_everything_of_it_back()
    {
        var hooks = await RestartWithHooksAsync(Nic);
        hooks.Pci.Reading = offset => offset == 0x08 ? throw new InvalidOperationException("a bug") : null;
        var bystander = await ConnectedGuestAsync("lab", Edu);
        var guest = await Xen.CreateGuestAsync("web", [Nic, Sata]);

        await EventuallyAsync("1 pages, 1 ports, 1 functions, 0 PIRQs", () => Xen.HeldByDom0);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
        GC.KeepAlive(guest);
    }

    [Fact]
    public async Task An_answer_whose_event_could_not_be_sent_reaches_its_guest_all_the_same()
    {
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { RequestTimeout = TimeSpan.FromHours(1), PollTimeout = TimeSpan.FromHours(1) });
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        Xen.Faults.Arm(FaultPoint.Notify, guest: guest.Id);
        Assert.Equal(0x10D3_8086u, (await guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4).WaitAsync(Patience)).Value);
    }

    [Fact]
    public async Task A_device_whose_reset_meets_a_bug_is_closed_and_taken_back_once_more()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var bug = Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Bug, device: Nic);
        await Xen.DestroyGuestAsync(guest);
        Assert.Equal(1, bug.Struck);
        await EventuallyAsync("nothing", () => Xen.HeldByDom0);
        await EventuallyAsync(0, () => Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_xenstored_that_goes_away_and_comes_back_costs_no_guest_anything()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await Xen.RestartXenStoredAsync();
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));

        var next = await ConnectedGuestAsync("lab", Edu);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(next, 0, 0, 4));
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync("1 pages, 1 ports, 1 functions, 0 PIRQs", () => Xen.HeldByDom0);
    }
}
