using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>Cases 54 to 62: MSI and MSI-X by request.</summary>
public class InterruptCases
{
    private const uint MsiEnable = 0x0001, MsixEnable = 0x8000;

    [Fact]
    public async Task Case_54_Msi_is_enabled_once_and_disabled_as_often_as_asked()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        var answer = await guest.Device(0).EnableMsiAsync();
        Assert.Equal((0, (uint)Assert.Single(dom0.Xen.Pirqs.Of(guest.Id)).Value), (answer.Error, answer.Value));
        answer = await guest.Device(0).EnableMsiAsync();
        Assert.Equal((-5, 0u), (answer.Error, answer.Value));
        Assert.Single(dom0.Xen.Pirqs.Of(guest.Id));

        Assert.Equal(0, (await guest.Device(0).DisableMsiAsync()).Error);
        Assert.Equal(0, (await guest.Device(0).DisableMsiAsync()).Error);
        Assert.Equal((0, 0u), (dom0.Xen.Pirqs.Mapped, dom0.Xen.Pci[Nic].Read(NicRegister.MsiControl) & MsiEnable));
    }

    [Fact]
    public async Task Case_54_A_guest_has_one_kind_on_at_most_and_either_disable_means_that_one()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        Assert.Equal(0, (await guest.Device(0).EnableMsiAsync()).Error);
        Assert.Equal(0, (await guest.Device(0).DisableMsixAsync()).Error);
        Assert.Equal(0, dom0.Xen.Pirqs.Mapped);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(0, (await guest.Device(0).EnableMsixAsync(0, 1, 2)).Error);
            Assert.Equal(3, dom0.Xen.Pirqs.Mapped);
            // Linux 6.1's frontend.
            Assert.Equal(0, (await guest.Device(0).DisableMsiAsync()).Error);
            Assert.Equal(0, dom0.Xen.Pirqs.Mapped);
        }
    }

    [Fact]
    public async Task Case_55_Msi_and_msix_exclude_each_other()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        await guest.Device(0).EnableMsiAsync();
        AssertAnswered(dom0, await guest.Device(0).EnableMsixAsync(0, 1, 2), error: -6, value: 3, mapped: 1);
        await guest.Device(0).DisableMsiAsync();

        await guest.Device(0).EnableMsixAsync(0, 1, 2);
        AssertAnswered(dom0, await guest.Device(0).EnableMsiAsync(), error: -5, value: 0, mapped: 3);
    }

    [Theory]
    [InlineData(129, -22, 129u, 0), InlineData(128, 0, 0u, 128), InlineData(0, -22, unchecked((uint)-22), 0)]
    public async Task Case_56_Up_to_128_vectors_can_be_asked_for(int count, int error, uint value, int mapped)
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pirqs.Highest = 200;
        dom0.Xen.Pci.Plug(WithManyVectors(Spare));
        var guest = await dom0.ConnectedGuestAsync("web", Spare);
        await guest.Device(0).TurnOnAsync();
        var entries = Enumerable.Range(0, count).Select(i => (ushort)i).ToArray();
        AssertAnswered(dom0, await guest.Device(0).EnableMsixAsync(entries), error, value, mapped);
    }

    [Fact]
    public async Task Case_57_Msix_needs_memory_decoding_of_the_physical_function()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        AssertAnswered(dom0, await guest.Device(0).EnableMsixAsync(0, 1), error: -6, value: 2, mapped: 0);

        dom0.Xen.Pci.Plug(Nvme.At(Spare).VirtualFunction());
        var vf = await dom0.ConnectedGuestAsync("vf", Spare);
        Assert.Equal(0u, dom0.Xen.Pci[Spare].Read(Register.Command));
        Assert.Equal(0, (await vf.Device(0).EnableMsixAsync(0, 1)).Error);
    }

    [Fact]
    public async Task Case_58_Three_vectors_get_three_pirqs_and_the_other_entries_stay()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        var page = new RawPage(guest);
        page.Bytes[RawPage.MsixEntries..].Fill(0xA5);
        for (var i = 0; i < 3; i++) page.AskForVector(i);
        page.Send(RawPage.EnableMsix, value: 3);
        await page.WaitForAnswerAsync();

        Assert.Equal((0, 0u), page.Answer);
        var pirqs = dom0.Xen.Pirqs.Of(guest.Id).Select(pirq => pirq.Value);
        Assert.Equal(pirqs, Enumerable.Range(0, 3).Select(i => (int)page.VectorAt(i)));
        Assert.Equal([0, 1, 2], Enumerable.Range(0, 3).Select(i => (int)page.EntryAt(i)));
        Assert.All(page.Bytes[(RawPage.MsixEntries + 3 * 4)..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Fact]
    public async Task Case_59_Msix_that_is_on_is_not_enabled_again()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        await guest.Device(0).EnableMsixAsync(0, 1, 2);
        AssertAnswered(dom0, await guest.Device(0).EnableMsixAsync(3), error: -114, value: 1, mapped: 3);
    }

    [Theory]
    [InlineData(0, 1, 0), InlineData(0, 1, 5), InlineData(0, 1, 0xFFFF)]
    public async Task Case_60_An_entry_asked_for_twice_or_outside_the_table_is_refused(params int[] entries)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        var answer = await guest.Device(0).EnableMsixAsync([.. entries.Select(entry => (ushort)entry)]);
        AssertAnswered(dom0, answer, error: -22, value: unchecked((uint)-22), mapped: 0);
        Assert.Equal([0, 0, 0], answer.Vectors.Select(vector => (int)vector));
    }

    [Fact]
    public async Task Case_61_A_mapping_that_fails_leaves_message_interrupts_off()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        dom0.Xen.Faults.Arm(FaultPoint.PirqMap, errno: 12);
        AssertAnswered(dom0, await guest.Device(0).EnableMsiAsync(), error: -5, value: 0, mapped: 0);
        dom0.Xen.Faults.Arm(FaultPoint.PirqMap, nth: 2, errno: 12);
        var answer = await guest.Device(0).EnableMsixAsync(0, 1, 2);
        AssertAnswered(dom0, answer, error: -12, value: unchecked((uint)-12), mapped: 0);
        Assert.Equal([0, 0, 0], answer.Vectors.Select(vector => (int)vector));
        var nic = dom0.Xen.Pci[Nic];
        Assert.Equal(0u, nic.Read(NicRegister.MsiControl) & MsiEnable);
        Assert.Equal(0u, nic.Read(NicRegister.MsixControl) & MsixEnable);
        Assert.Equal(0u, nic.Read(Register.Command) & CommandBits.IntxDisable);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public async Task Case_62_A_guest_that_goes_with_msix_on_leaves_nothing_on_and_no_error_though_its_domain_be_gone(
        bool domainIsGone)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await guest.Device(0).TurnOnAsync();
        await guest.Device(0).EnableMsixAsync(0, 1, 2);
        Assert.NotEqual(0u, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl) & MsixEnable);
        if (domainIsGone) await dom0.Xen.CrashGuestAsync(guest);
        await dom0.Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));

        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        Assert.Equal(0u, dom0.Xen.Pci[Nic].Read(NicRegister.MsixControl) & MsixEnable);
        Assert.Null(await dom0.ReadErrorAsync(guest));
    }

    private static void AssertAnswered(TestDom0 dom0, FrontendAnswer answer, int error, uint value, int mapped) =>
        Assert.Equal((error, value, mapped), (answer.Error, answer.Value, dom0.Xen.Pirqs.Mapped));
}
