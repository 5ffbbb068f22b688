using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation;

namespace XenPciBack.Actors.Tests;

/// <summary>Message interrupts from the guest's page to the hypervisor's table of PIRQs, and back off it at every end.</summary>
public class InterruptTests : BackendTest
{
    [Fact]
    public async Task A_guest_gets_a_pirq_for_each_msix_vector_and_gives_them_back()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        for (var i = 0; i < 3; i++)
        {
            var answer = await EnableMsixAsync(guest, 0, 1, 2);
            Assert.Equal((0, 0u), (answer.Error, answer.Value));
            Assert.Equal(Xen.Pirqs.Of(guest.Id).Select(pirq => (ushort)pirq.Value), answer.Vectors);
            // Linux 6.1's frontend means MSI-X by this.
            Assert.Equal(0, (await AskAsync(guest, DisableMsi)).Error);
            Assert.Equal(0, Xen.Pirqs.Mapped);
        }
    }

    [Fact]
    public async Task The_entries_not_asked_for_stay_as_the_guest_left_them()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        Assert.All(guest.Frontend.Page.Bytes[(40 + 3 * 4)..552].ToArray(), b => Assert.Equal(0, b));
    }

    [Fact]
    public async Task Msi_answers_its_pirq_and_a_second_time_is_refused()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((0, (uint)Xen.Pirqs.Of(guest.Id).Single().Value), (answer.Error, answer.Value));
        answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((-5, 0u), (answer.Error, answer.Value));
        Assert.Equal(0, (await AskAsync(guest, DisableMsix)).Error);
        Assert.Equal(0, Xen.Pirqs.Mapped);
    }

    [Fact]
    public async Task A_mapping_that_fails_half_way_leaves_nothing()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        Xen.Faults.Arm(FaultPoint.PirqMap, nth: 2, errno: 28);
        var answer = await EnableMsixAsync(guest, 0, 1);
        Assert.Equal((-28, unchecked((uint)-28), 0), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
        Assert.Equal([0, 0], answer.Vectors.Select(v => (int)v));
        Assert.Equal(0u, Xen.Pci[Nic].Read(0xA2, 2) & 0x8000);
    }

    [Fact]
    public async Task A_guest_that_is_destroyed_leaves_no_pirq_and_no_message_on()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.Equal(0u, Xen.Pci[Nic].Read(0xA2, 2) & 0x8000);
    }
}
