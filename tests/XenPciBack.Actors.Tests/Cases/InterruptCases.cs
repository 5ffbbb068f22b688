using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.Simulation;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 54 to 62: MSI and MSI-X by request.</summary>
public class InterruptCases : CaseTest
{
    private const int Command = 0x04, MsiControl = 0xD2, MsixControl = 0xA2;
    private const uint MsiEnable = 0x0001, MsixEnable = 0x8000, IntxDisable = 0x0400;

    [Fact]
    public async Task Case_54_Msi_is_enabled_once_and_disabled_as_often_as_asked()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((0, (uint)Assert.Single(Xen.Pirqs.Of(guest.Id)).Value), (answer.Error, answer.Value));
        answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((-5, 0u), (answer.Error, answer.Value));
        Assert.Single(Xen.Pirqs.Of(guest.Id));

        Assert.Equal(0, (await AskAsync(guest, DisableMsi)).Error);
        Assert.Equal(0, (await AskAsync(guest, DisableMsi)).Error);
        Assert.Equal((0, 0u), (Xen.Pirqs.Mapped, Xen.Pci[Nic].Read(MsiControl, 2) & MsiEnable));
    }

    [Fact]
    public async Task Case_55_Msi_and_msix_exclude_each_other()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await AskAsync(guest, EnableMsi);
        var answer = await EnableMsixAsync(guest, 0, 1, 2);
        Assert.Equal((-6, 3u, 1), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
        await AskAsync(guest, DisableMsi);

        await EnableMsixAsync(guest, 0, 1, 2);
        answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((-5, 0u, 3), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
    }

    [Theory]
    [InlineData(129, -22, 129u, 0), InlineData(128, 0, 0u, 128), InlineData(0, -22, unchecked((uint)-22), 0)]
    public async Task Case_56_Up_to_128_vectors_can_be_asked_for(int count, int error, uint value, int mapped)
    {
        Xen.Pirqs.Highest = 200;
        Xen.Pci.Plug(WithManyVectors(Spare));
        var guest = await ConnectedGuestAsync("web", Spare);
        await TurnOnMemoryAsync(guest);
        var answer = await EnableMsixAsync(guest, [.. Enumerable.Range(0, count).Select(i => (ushort)i)]);
        Assert.Equal((error, value, mapped), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
    }

    [Fact]
    public async Task Case_57_Msix_needs_memory_decoding_of_the_physical_function()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await EnableMsixAsync(guest, 0, 1);
        Assert.Equal((-6, 2u, 0), (answer.Error, answer.Value, Xen.Pirqs.Mapped));

        Xen.Pci.Plug(Nvme.At(Spare).VirtualFunction());
        var vf = await ConnectedGuestAsync("vf", Spare);
        Assert.Equal((0u, 0), (Xen.Pci[Spare].Read(Command, 2), (await EnableMsixAsync(vf, 0, 1)).Error));
    }

    [Fact]
    public async Task Case_58_Three_vectors_get_three_pirqs_and_the_other_entries_stay()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        var page = new RawPage(guest);
        page.Bytes[RawPage.MsixEntries..].Fill(0xA5);
        for (var i = 0; i < 3; i++) page.AskForVector(i);
        page.Send(EnableMsix, value: 3);
        await EventuallyAsync(false, () => page.IsWaiting);

        Assert.Equal((0, 0u), page.Answer);
        Assert.Equal(Xen.Pirqs.Of(guest.Id).Select(pirq => pirq.Value), Enumerable.Range(0, 3).Select(i => (int)page.VectorAt(i)));
        Assert.Equal([0, 1, 2], Enumerable.Range(0, 3).Select(i => (int)page.EntryAt(i)));
        Assert.All(page.Bytes[(RawPage.MsixEntries + 3 * 4)..].ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Fact]
    public async Task Case_59_Msix_that_is_on_is_not_enabled_again()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        var answer = await EnableMsixAsync(guest, 3);
        Assert.Equal((-114, 1u, 3), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
    }

    [Theory]
    [InlineData(0, 1, 0), InlineData(0, 1, 5), InlineData(0, 1, 0xFFFF)]
    public async Task Case_60_An_entry_asked_for_twice_or_outside_the_table_is_refused(params int[] entries)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        var answer = await EnableMsixAsync(guest, [.. entries.Select(entry => (ushort)entry)]);
        Assert.Equal((-22, unchecked((uint)-22), 0), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
        Assert.Equal([0, 0, 0], answer.Vectors.Select(vector => (int)vector));
    }

    [Fact]
    public async Task Case_61_A_mapping_that_fails_leaves_message_interrupts_off()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        Xen.Faults.Arm(FaultPoint.PirqMap, errno: 12);
        var answer = await AskAsync(guest, EnableMsi);
        Assert.Equal((-5, 0u), (answer.Error, answer.Value));
        Xen.Faults.Arm(FaultPoint.PirqMap, nth: 2, errno: 12);
        answer = await EnableMsixAsync(guest, 0, 1, 2);
        Assert.Equal((-12, unchecked((uint)-12), 0), (answer.Error, answer.Value, Xen.Pirqs.Mapped));
        Assert.Equal((0u, 0u, 0u), (Xen.Pci[Nic].Read(MsiControl, 2) & MsiEnable, Xen.Pci[Nic].Read(MsixControl, 2) & MsixEnable, Xen.Pci[Nic].Read(Command, 2) & IntxDisable));
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public async Task Case_62_A_guest_that_lets_go_with_msix_on_leaves_nothing_on_and_no_error_though_its_domain_be_gone(bool domainIsGone)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await TurnOnMemoryAsync(guest);
        await EnableMsixAsync(guest, 0, 1, 2);
        Assert.NotEqual(0u, Xen.Pci[Nic].Read(MsixControl, 2) & MsixEnable);
        if (domainIsGone) await Xen.CrashGuestAsync(guest);
        await Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));

        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        Assert.Equal(0u, Xen.Pci[Nic].Read(MsixControl, 2) & MsixEnable);
        Assert.Null(await ReadErrorAsync(guest));
    }
}
