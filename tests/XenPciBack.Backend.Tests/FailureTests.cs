using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests;

/// <summary>What fails, and who else notices: nobody.</summary>
public class FailureTests
{
    [Fact]
    public async Task A_bug_in_one_device_ends_its_guest_only_and_gives_everything_of_it_back()
    {
        await using var dom0 = await TestDom0.StartAsync();
        using var bug = dom0.Xen.Faults.Arm(
            FaultPoint.ConfigRead, FaultKind.Bug, device: Nic, register: Register.Revision.Offset, times: int.MaxValue);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        await dom0.Xen.CreateGuestAsync("web", [Nic, Sata]);

        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task An_answer_whose_event_could_not_be_sent_reaches_its_guest_all_the_same()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var patient = new FrontendOptions { RequestTimeout = TimeSpan.FromHours(1), PollTimeout = TimeSpan.FromHours(1) };
        var guest = await dom0.ConnectedGuestAsync("web", [Nic], patient);
        dom0.Xen.Faults.Arm(FaultPoint.Notify, guest: guest.Id);
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids).WaitAsync(Eventually.Patience));
    }

    [Fact]
    public async Task A_device_whose_reset_meets_a_bug_is_closed_and_taken_back_once_more()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var bug = dom0.Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Bug, device: Nic);
        await dom0.Xen.DestroyGuestAsync(guest);
        Assert.Equal(1, bug.Struck);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync(0, () => dom0.Xen.DeviceRecords.Count);
    }

    [Fact]
    public async Task A_xenstored_that_goes_away_and_comes_back_costs_no_guest_anything()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await dom0.Xen.RestartXenStoredAsync();
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));

        var next = await dom0.ConnectedGuestAsync("lab", Edu);
        Assert.Equal(EduIds, await next.Device(0).ReadAsync(Register.Ids));
        await dom0.Xen.DestroyGuestAsync(guest);
        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
    }
}
