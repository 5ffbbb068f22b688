using Akka.Actor;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>Cases 63 to 80: the handshake of toolstack, backend and frontend in xenstore.</summary>
public class XenbusCases : CaseTest
{
    [Fact]
    public async Task Case_63_Devices_and_buses_are_published_before_the_third_state()
    {
        var changes = RecordBackend(new DomainId(1));
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal(new DomainId(1), guest.Id);
        Assert.Contains("state=1", changes);
        // The toolstack's last word is num_devs.
        Assert.Equal(
            ["state=2", "vdev-0=0000:00:00.00", "state-0=3", "root-0=0000:00", "root_num=1", "state=3", "state=4"],
            changes.SkipWhile(change => change != "num_devs=1").Skip(1));
    }

    [Fact]
    public async Task Case_64_A_function_keeps_its_number_even_alone()
    {
        var second = HostBdf.Parse("0000:03:00.1");
        Xen.Pci.Plug(QemuEdu.At(second));
        var guest = await ConnectedGuestAsync("web", second);
        Assert.Equal("0000:00:00.01", await ReadAsync(guest, "vdev-0"));
        Assert.Equal("0000:00:00.1", Assert.Single(guest.Frontend.Devices).Address);
    }

    [Fact]
    public async Task Case_65_A_frontend_that_was_ready_first_is_connected_at_once()
    {
        await StopBackendAsync();
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await PublishAsync(guest);
        Assert.Equal("1", await ReadAsync(guest, "state"));
        await StartBackendAsync();
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("6"), InlineData(null), InlineData("7\n")]
    public async Task Case_66_Another_magic_is_refused_and_nothing_mapped(string? magic)
    {
        var guest = await WaitingGuestAsync(Nic);
        await PublishAsync(guest, magic: magic);
        await AssertFailedAsync(guest, errno: 14);
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("zzz"), InlineData(""), InlineData("-1"), InlineData("0"), InlineData("4000"), InlineData("4294967296")]
    public async Task Case_67_A_grant_that_is_none_is_refused(string grant)
    {
        var guest = await WaitingGuestAsync(Nic);
        await PublishAsync(guest, grant);
        await AssertFailedAsync(guest, errno: 22);
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_67_A_grant_taken_back_is_refused_and_other_guests_go_on()
    {
        var bystander = await ConnectedGuestAsync("lab", Edu);
        var guest = await WaitingGuestAsync(Nic);
        var grant = Xen.Grants.Grant(guest.Id, guest.Frontend.Page);
        Xen.Grants.Revoke(guest.Id, grant);
        await PublishAsync(guest, $"{grant}");
        await AssertFailedAsync(guest, errno: 22);
        Assert.Equal(0x11E8_1234u, await ReadRegisterAsync(bystander, 0, 4));
    }

    [Fact]
    // Deviation: the backend says Connected only once it has mapped the page.
    public async Task Case_68_A_frontend_that_claims_to_be_connected_is_not_believed_while_devices_are_opened()
    {
        using var open = new ManualResetEventSlim();
        var hooks = await RestartWithHooksAsync(Nic);
        hooks.Pci.Opening = () => open.Wait(Patience);
        var guest = await Xen.CreateGuestAsync("liar", [Nic], new FrontendOptions { IsSilent = true });
        await EventuallyAsync("2", () => ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        open.Set();
        await AssertNotServedAsync(guest);
    }

    [Fact]
    // Deviation: the same.
    public async Task Case_68_A_frontend_that_claims_to_be_connected_is_not_believed_afterwards()
    {
        var guest = await WaitingGuestAsync(Nic);
        await guest.Frontend.WriteStateAsync(4);
        await AssertNotServedAsync(guest);
    }

    [Fact]
    public async Task Case_69_A_device_not_set_aside_is_refused()
    {
        Xen.Pci.SetDriver(Nic, "e1000e");
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await AssertFailedAsync(guest, errno: 22);
        Assert.Equal(Held.Nothing, Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_69_A_device_of_another_guest_is_refused_and_stays_there()
    {
        var owner = await ConnectedGuestAsync("owner", Nic);
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await AssertFailedAsync(guest, errno: 22);
        Assert.Equal(0x10D3_8086u, await ReadRegisterAsync(owner, 0, 4));
    }

    [Theory]
    [InlineData("dev-0", "zz", 22), InlineData("num_devs", null, 2)]
    public async Task Case_70_A_directory_that_makes_no_sense_is_refused(string node, string? value, int errno)
    {
        await StopBackendAsync();
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        if (value is null) await Store.RemoveAsync(BackendOf(guest) / node);
        else await Store.WriteAsync(BackendOf(guest) / node, value);
        await StartBackendAsync();
        await AssertFailedAsync(guest, errno);
    }

    [Fact]
    public async Task Case_71_The_33rd_device_finds_no_slot_and_is_handed_back()
    {
        var devices = Enumerable.Range(0, 33).Select(i => new HostBdf(0, 0x10 + i, 0, 0)).ToArray();
        foreach (var device in devices) Xen.Pci.Plug(QemuEdu.At(device));
        var guest = await Xen.CreateGuestAsync("web", devices, new FrontendOptions { IsSilent = true });
        await AssertFailedAsync(guest, errno: 12);
        Assert.Equal(("0000:00:1f.00", null), (await ReadAsync(guest, "vdev-31"), await ReadAsync(guest, "vdev-32")));

        // Deviation: the kernel keeps it until the stub driver is unbound.
        await EventuallyAsync(new Held(Functions: 32), () => Xen.HeldByDom0);
        Assert.Single((await ConnectedGuestAsync("other", devices[32])).Frontend.Devices);
    }

    [Fact]
    public async Task Case_72_A_device_added_to_a_running_guest_goes_through_the_reconfiguring_states()
    {
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedByHandAsync(Nic);
        var changes = RecordBackend(guest.Id);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await ConnectedGuestAsync("lab", Sata);
        Assert.Equal("state=7", changes.Last());

        await guest.Frontend.WriteStateAsync(7);
        await EventuallyAsync("8", () => ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(["vdev-1=0000:00:01.00", "state-1=3", "state=8", "state=4"], changes.SkipWhile(change => change != "state=7").Skip(1));
    }

    [Fact]
    public async Task Case_73_A_device_added_before_the_frontend_comes_is_exported_without_a_change_of_state()
    {
        var guest = await WaitingGuestAsync(Nic);
        await Xen.Toolstack.AddAtCreationAsync(guest.Id, Edu);
        await EventuallyAsync("3", () => ReadAsync(guest, "state-1"));
        Assert.Equal(("0000:00:01.00", "3"), (await ReadAsync(guest, "vdev-1"), await ReadAsync(guest, "state")));
        Assert.Equal(2, Xen.Pci.OpenFunctions);
    }

    [Fact]
    public async Task Case_74_A_removed_device_is_reset_and_free_while_its_entry_is_still_the_toolstacks()
    {
        Xen.Pci.Plug(Nvme.At(Spare));
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedByHandAsync(Spare, Edu);
        await AskToRemoveAsync(guest, index: 0);
        await EventuallyAsync("8", () => ReadAsync(guest, "state"));

        Assert.Equal(1, Xen.Pci[Spare].Resets);
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), Xen.HeldByDom0);
        Assert.Equal(("0000:00:00.00", "5"), (await ReadAsync(guest, "vdev-0"), await ReadAsync(guest, "state-0")));
        Assert.Single((await ConnectedGuestAsync("next", Spare)).Frontend.Devices);
    }

    [Fact]
    // Deviation: the kernel stays in 7 and passes over the other changes.
    public async Task Case_75_The_removal_of_a_device_the_guest_does_not_have_is_an_error_and_holds_nothing_up()
    {
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedByHandAsync(Nic, Edu);
        await Store.WriteAsync(BackendOf(guest) / "vdev-0", "0000:00:1e.00");
        await Store.WriteAsync(BackendOf(guest) / "state-1", "5");
        await AskToRemoveAsync(guest, index: 0);
        await EventuallyAsync("8", () => ReadAsync(guest, "state"));
        Assert.StartsWith("2 vdev-0 ", await ReadErrorAsync(guest), StringComparison.Ordinal);
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_76_A_device_whose_entry_the_toolstack_has_moved_is_removed_like_any_other()
    {
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedGuestAsync("web", Nic, Edu, Sata);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        var before = await ReadAsync(guest, "vdev-1");
        await Xen.Toolstack.DetachAsync(guest.Id, Nic);
        Assert.Equal(("0000:05:01.0", before), (await ReadAsync(guest, "dev-0"), await ReadAsync(guest, "vdev-0")));

        await Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await EventuallyAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => Xen.HeldByDom0);
        Assert.Equal("0000:00:02.2", Assert.Single(guest.Frontend.Devices).Address);
    }

    [Fact]
    public async Task Case_77_A_frontend_that_closes_is_unmapped_and_keeps_its_devices_while_online_for_when_it_comes_back()
    {
        var guest = await ConnectedByHandAsync(Nic);
        await guest.Frontend.WriteStateAsync(5);
        await EventuallyAsync("5", () => ReadAsync(guest, "state"));
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
        await guest.Frontend.WriteStateAsync(6);
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);

        await PublishAsync(guest);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_77_A_frontend_that_closes_for_good_lets_go_of_its_devices()
    {
        var guest = await ConnectedByHandAsync(Nic);
        await Store.WriteAsync(BackendOf(guest) / "online", "0");
        await guest.Frontend.WriteStateAsync(6);
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync("6", () => ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task Case_78_Without_its_frontend_directory_a_guest_has_no_devices()
    {
        var guest = await ConnectedByHandAsync(Nic);
        await Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));
        await EventuallyAsync(Held.Nothing, () => Xen.HeldByDom0);
        await EventuallyAsync("6", () => ReadAsync(guest, "state"));
        Assert.False(await Store.ExistsAsync(SimulatedToolstack.FrontendOf(guest.Id)));
    }

    [Fact]
    public async Task Case_78_A_directory_that_has_vanished_is_not_written_to()
    {
        const int lastRegisterRestored = 0x0C;
        var hooks = await RestartWithHooksAsync(Nic);
        var guest = await ConnectedByHandAsync(Nic);
        var gone = CreateTestProbe();
        Sys.EventStream.Subscribe(gone, typeof(BackendEvents.GuestGone));
        using var held = new HeldReads(hooks, lastRegisterRestored);
        await Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));
        await held.WaitUntilBusyAsync();
        // The device is being released; the state that would follow has nowhere to go any more.
        await Store.RemoveAsync(BackendOf(guest));
        held.LetGo();
        await gone.ExpectMsgAsync<BackendEvents.GuestGone>(Patience);
        Assert.Equal((Held.Nothing, false), (Xen.HeldByDom0, await Store.ExistsAsync(BackendOf(guest))));
    }

    [Fact]
    public async Task Case_79_A_frontend_answers_the_backends_closing_with_closed()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        await Store.WriteAsync(BackendOf(guest) / "state", "5");
        await guest.Frontend.WaitUntilAsync(frontend => frontend.State == 6, Soon());
        Assert.Empty(guest.Frontend.Devices);
        await EventuallyAsync("6", () => ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task Case_79_A_frontend_that_is_reconfiguring_does_not_listen_to_closing()
    {
        await RestartBackendAsync(PatientSettings);
        var guest = await ConnectedGuestAsync("web", Nic);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        await StopBackendAsync();
        await Store.WriteAsync(BackendOf(guest) / "state", "7");
        await guest.Frontend.WaitUntilAsync(frontend => frontend.State == 7, Soon());
        // The kernel's backend does so for a device that it cannot give.
        await Store.WriteAsync(BackendOf(guest) / "state", "5");

        await StartBackendAsync(settings: PatientSettings);
        await ConnectedGuestAsync("lab", Edu);
        Assert.Equal((7, "5"), (guest.Frontend.State, await ReadAsync(guest, "state")));
        Assert.Single(guest.Frontend.Devices);
    }

    [Fact]
    public async Task Case_80_A_state_rewritten_without_end_fills_no_queue_and_its_last_value_counts()
    {
        var guest = await ConnectedByHandAsync(Nic);
        var actor = (ActorRefWithCell)await Sys.ActorSelection(Backend.Path / $"guest-{guest.Id}").ResolveOne(Patience);
        var state = SimulatedToolstack.FrontendOf(guest.Id) / "state";
        var longest = 0;
        for (var i = 0; i < 200; i++)
        {
            await Task.WhenAll(Enumerable.Range(0, 100).Select(n => Store.WriteAsync(state, n % 2 == 0 ? "4" : "3")));
            longest = Math.Max(longest, actor.Underlying.NumberOfMessages);
        }
        await guest.Frontend.WriteStateAsync(5);
        await EventuallyAsync("5", () => ReadAsync(guest, "state"));
        Assert.InRange(longest, 0, 10);
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
    }

    private async Task AssertFailedAsync(SimulatedGuest guest, int errno)
    {
        await EventuallyAsync("5", () => ReadAsync(guest, "state"));
        Assert.StartsWith($"{errno} ", await ReadErrorAsync(guest), StringComparison.Ordinal);
    }

    private async Task AssertNotServedAsync(SimulatedGuest guest)
    {
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        var page = new RawPage(guest);
        page.Send(0, offset: 0, size: 4);
        await ConnectedGuestAsync("lab", Edu);
        Assert.Equal(("3", true), (await ReadAsync(guest, "state"), page.IsWaiting));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 2), Xen.HeldByDom0);
    }

    /// <summary>The first half of <c>xl pci-detach</c>, and the frontend's answer to it.</summary>
    private async Task AskToRemoveAsync(SimulatedGuest guest, int index)
    {
        await Store.TransactAsync(async tx =>
        {
            await Store.WriteAsync(BackendOf(guest) / $"state-{index}", "5", tx);
            await Store.WriteAsync(BackendOf(guest) / "state", "7", tx);
        });
        await guest.Frontend.WriteStateAsync(7);
    }
}
