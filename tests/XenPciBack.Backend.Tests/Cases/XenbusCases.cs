using System.Collections.Concurrent;
using Akka.Actor;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>Cases 63 to 80: the handshake of toolstack, backend and frontend in xenstore.</summary>
public class XenbusCases
{
    [Fact]
    public async Task Case_63_Devices_and_buses_are_published_before_the_third_state()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var changes = RecordBackend(dom0, new DomainId(1));
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
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
        await using var dom0 = await TestDom0.StartAsync();
        var second = HostBdf.Parse("0000:03:00.1");
        dom0.Xen.Pci.Plug(QemuEdu.At(second));
        var guest = await dom0.ConnectedGuestAsync("web", second);
        Assert.Equal("0000:00:00.01", await dom0.ReadAsync(guest, "vdev-0"));
        Assert.Equal("0000:00:00.1", Assert.Single(guest.Frontend.Devices).Address);
    }

    [Fact]
    public async Task Case_65_A_frontend_that_was_ready_first_is_connected_at_once()
    {
        await using var dom0 = await TestDom0.StartAsync(withDaemon: false);
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await dom0.PublishAsync(guest);
        Assert.Equal("1", await dom0.ReadAsync(guest, "state"));
        await dom0.StartDaemonAsync();
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("6", "'6'"), InlineData(null, "missing"), InlineData("7\n", "'7?'")]
    public async Task Case_66_Another_magic_is_refused_and_nothing_mapped(string? magic, string named)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.WaitingGuestAsync(Nic);
        await dom0.PublishAsync(guest, magic: magic);
        await AssertFailedAsync(dom0, guest, errno: 14, $"the frontend's magic is {named}; expected '7'");
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("zzz"), InlineData(""), InlineData("-1"), InlineData("0"), InlineData("4294967296")]
    public async Task Case_67_A_grant_that_is_no_reference_is_refused(string grant)
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.WaitingGuestAsync(Nic);
        await dom0.PublishAsync(guest, grant);
        var text = $"the frontend's pci-op-ref is '{grant}'; expected a grant reference, a number above 0";
        await AssertFailedAsync(dom0, guest, errno: 22, text);
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_67_A_grant_that_does_not_exist_is_refused()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.WaitingGuestAsync(Nic);
        await dom0.PublishAsync(guest, grant: "4000");
        await AssertFailedAsync(dom0, guest, errno: 22);
        Assert.Contains("4000", await dom0.ReadErrorAsync(guest), StringComparison.Ordinal);
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_67_A_grant_taken_back_is_refused_and_other_guests_go_on()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        var guest = await dom0.WaitingGuestAsync(Nic);
        var grant = dom0.Xen.Grants.Grant(guest.Id, guest.Frontend.Page);
        dom0.Xen.Grants.Revoke(guest.Id, grant);
        await dom0.PublishAsync(guest, $"{grant}");
        await AssertFailedAsync(dom0, guest, errno: 22);
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    // Deviation: the backend says Connected only once it has mapped the page.
    public async Task Case_68_A_frontend_that_claims_to_be_connected_is_not_believed_while_devices_are_opened()
    {
        await using var dom0 = await TestDom0.StartAsync();
        using var stall = dom0.Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Nic);
        var guest = await dom0.Xen.CreateGuestAsync("liar", [Nic], new FrontendOptions { IsSilent = true });
        await Eventually.EqualAsync("2", () => dom0.ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        stall.Dispose();
        await AssertNotServedAsync(dom0, guest);
    }

    [Fact]
    // Deviation: the same.
    public async Task Case_68_A_frontend_that_claims_to_be_connected_is_not_believed_afterwards()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.WaitingGuestAsync(Nic);
        await guest.Frontend.WriteStateAsync(4);
        await AssertNotServedAsync(dom0, guest);
    }

    [Fact]
    public async Task Case_69_A_device_that_a_driver_of_the_host_has_is_refused()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.SetDriver(Nic, "e1000e");
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await AssertFailedAsync(dom0, guest, errno: 22);
        Assert.Equal(Held.Nothing, dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_69_A_device_of_another_guest_is_refused_and_stays_there()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var owner = await dom0.ConnectedGuestAsync("owner", Nic);
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        // It could be on its way back.
        await dom0.AdvanceUntilDoneAsync(AssertFailedAsync(dom0, guest, errno: 22));
        Assert.Equal(NicIds, await owner.Device(0).ReadAsync(Register.Ids));
    }

    [Theory]
    [InlineData("dev-0", "zz", 22), InlineData("num_devs", null, 2)]
    public async Task Case_70_A_directory_that_makes_no_sense_is_refused(string node, string? value, int errno)
    {
        await using var dom0 = await TestDom0.StartAsync(withDaemon: false);
        var guest = await dom0.Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        if (value is null) await dom0.Store.RemoveAsync(TestDom0.BackendOf(guest) / node);
        else await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / node, value);
        await dom0.StartDaemonAsync();
        await AssertFailedAsync(dom0, guest, errno);
    }

    [Fact]
    public async Task Case_71_The_33rd_device_finds_no_slot_and_is_handed_back()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var devices = Enumerable.Range(0, 33).Select(i => new HostBdf(0, 0x10 + i, 0, 0)).ToArray();
        foreach (var device in devices) dom0.Xen.Pci.Plug(QemuEdu.At(device));
        var guest = await dom0.Xen.CreateGuestAsync("web", devices, new FrontendOptions { IsSilent = true });
        await AssertFailedAsync(dom0, guest, errno: 12);
        Assert.Equal("0000:00:1f.00", await dom0.ReadAsync(guest, "vdev-31"));
        Assert.Null(await dom0.ReadAsync(guest, "vdev-32"));

        // Deviation: the kernel keeps it until the stub driver is unbound.
        await Eventually.EqualAsync(new Held(Functions: 32), () => dom0.Xen.HeldByDom0);
        Assert.Single((await dom0.ConnectedGuestAsync("other", devices[32])).Frontend.Devices);
    }

    [Fact]
    public async Task Case_72_A_device_added_to_a_running_guest_goes_through_the_reconfiguring_states()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var changes = RecordBackend(dom0, guest.Id);
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await dom0.ConnectedGuestAsync("lab", Sata);
        Assert.Equal("state=7", changes.Last());

        await guest.Frontend.WriteStateAsync(7);
        await Eventually.EqualAsync("8", () => dom0.ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(
            ["vdev-1=0000:00:01.00", "state-1=3", "state=8", "state=4"],
            changes.SkipWhile(change => change != "state=7").Skip(1));
    }

    [Fact]
    public async Task Case_73_A_device_added_before_the_frontend_comes_is_exported_without_a_change_of_state()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.WaitingGuestAsync(Nic);
        await dom0.Xen.Toolstack.AddAtCreationAsync(guest.Id, Edu);
        await Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state-1"));
        Assert.Equal("0000:00:01.00", await dom0.ReadAsync(guest, "vdev-1"));
        Assert.Equal("3", await dom0.ReadAsync(guest, "state"));
        Assert.Equal(2, dom0.Xen.Pci.OpenFunctions);
    }

    [Fact]
    public async Task Case_74_A_removed_device_is_reset_and_free_while_its_entry_is_still_the_toolstacks()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        dom0.Xen.Pci.Plug(Nvme.At(Spare));
        var guest = await dom0.ConnectedByHandAsync(Spare, Edu);
        await AskToRemoveAsync(dom0, guest, index: 0);
        await Eventually.EqualAsync("8", () => dom0.ReadAsync(guest, "state"));

        Assert.Equal(1, dom0.Xen.Pci[Spare].Resets);
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
        Assert.Equal("0000:00:00.00", await dom0.ReadAsync(guest, "vdev-0"));
        Assert.Equal("5", await dom0.ReadAsync(guest, "state-0"));
        Assert.Single((await dom0.ConnectedGuestAsync("next", Spare)).Frontend.Devices);
    }

    [Fact]
    // Deviation: the kernel stays in 7 and passes over the other changes.
    public async Task Case_75_The_removal_of_a_device_the_guest_does_not_have_is_an_error_and_holds_nothing_up()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedByHandAsync(Nic, Edu);
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "vdev-0", "0000:00:1e.00");
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state-1", "5");
        await AskToRemoveAsync(dom0, guest, index: 0);
        await Eventually.EqualAsync("8", () => dom0.ReadAsync(guest, "state"));
        Assert.StartsWith("2 vdev-0 ", await dom0.ReadErrorAsync(guest), StringComparison.Ordinal);
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_76_A_device_whose_entry_the_toolstack_has_moved_is_removed_like_any_other()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu, Sata);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        var before = await dom0.ReadAsync(guest, "vdev-1");
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Nic);
        Assert.Equal("0000:05:01.0", await dom0.ReadAsync(guest, "dev-0"));
        Assert.Equal(before, await dom0.ReadAsync(guest, "vdev-0"));

        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await Eventually.EqualAsync(new Held(Pages: 1, Ports: 1, Functions: 1), () => dom0.Xen.HeldByDom0);
        Assert.Equal("0000:00:02.2", Assert.Single(guest.Frontend.Devices).Address);
    }

    [Fact]
    public async Task Case_77_A_frontend_that_closes_is_unmapped_and_keeps_its_devices_while_the_toolstack_says_online()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedByHandAsync(Nic);
        await guest.Frontend.WriteStateAsync(5);
        await Eventually.EqualAsync("5", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
        await guest.Frontend.WriteStateAsync(6);
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state")));
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);

        await dom0.PublishAsync(guest);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 1), dom0.Xen.HeldByDom0);
    }

    [Fact]
    public async Task Case_77_A_frontend_that_closes_for_good_loses_its_devices()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedByHandAsync(Nic);
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "online", "0");
        await guest.Frontend.WriteStateAsync(6);
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync("6", () => dom0.ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task Case_78_Without_its_frontend_directory_a_guest_has_no_devices()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedByHandAsync(Nic);
        await dom0.Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));
        await Eventually.EqualAsync(Held.Nothing, () => dom0.Xen.HeldByDom0);
        await Eventually.EqualAsync("6", () => dom0.ReadAsync(guest, "state"));
        Assert.False(await dom0.Store.ExistsAsync(SimulatedToolstack.FrontendOf(guest.Id)));
    }

    [Fact]
    public async Task Case_78_A_directory_that_has_vanished_is_not_written_to()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var last = Register.CacheLineSize.Offset;
        using var stall = dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Stall, device: Nic, register: last);
        await dom0.Store.RemoveAsync(SimulatedToolstack.FrontendOf(guest.Id));
        await Eventually.EqualAsync(1, () => stall.Struck);
        // The last register is being restored; the state that would follow has nowhere to go any more.
        await dom0.Store.RemoveAsync(TestDom0.BackendOf(guest));
        stall.Dispose();
        await dom0.Events.NextAsync<BackendEvents.GuestGone>();
        Assert.Equal(Held.Nothing, dom0.Xen.HeldByDom0);
        Assert.False(await dom0.Store.ExistsAsync(TestDom0.BackendOf(guest)));
    }

    [Fact]
    public async Task Case_79_A_frontend_answers_the_backends_closing_with_closed()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state", "5");
        await guest.Frontend.WaitUntilAsync(frontend => frontend.State == 6, Eventually.Limit);
        Assert.Empty(guest.Frontend.Devices);
        await Eventually.EqualAsync("6", () => dom0.ReadAsync(guest, "state"));
    }

    [Fact]
    public async Task Case_79_A_frontend_that_is_reconfiguring_does_not_listen_to_closing()
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        await Eventually.EqualAsync("4", () => dom0.ReadAsync(guest, "state"));
        await dom0.StopDaemonAsync();
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state", "7");
        await guest.Frontend.WaitUntilAsync(frontend => frontend.State == 7, Eventually.Limit);
        // The kernel's backend does so for a device that it cannot give.
        await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state", "5");

        await dom0.StartDaemonAsync();
        await dom0.ConnectedGuestAsync("lab", Edu);
        Assert.Equal((7, "5"), (guest.Frontend.State, await dom0.ReadAsync(guest, "state")));
        Assert.Single(guest.Frontend.Devices);
    }

    [Fact]
    public async Task Case_80_A_state_rewritten_without_end_fills_no_queue_and_its_last_value_counts()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedByHandAsync(Nic);
        var path = dom0.Backend.Path / $"guest-{guest.Id}";
        var actor = (ActorRefWithCell)await dom0.System.ActorSelection(path).ResolveOne(Eventually.Patience);
        var state = SimulatedToolstack.FrontendOf(guest.Id) / "state";
        var longest = 0;
        for (var i = 0; i < 200; i++)
        {
            var writes = Enumerable.Range(0, 100).Select(n => dom0.Store.WriteAsync(state, n % 2 == 0 ? "4" : "3"));
            await Task.WhenAll(writes);
            longest = Math.Max(longest, actor.Underlying.NumberOfMessages);
        }
        var page = new RawPage(guest);
        page.Send(RawPage.ConfRead, Register.Ids);
        await page.WaitForAnswerAsync();
        Assert.Equal((0, NicIds), page.Answer);

        await guest.Frontend.WriteStateAsync(5);
        await Eventually.EqualAsync("5", () => dom0.ReadAsync(guest, "state"));
        Assert.InRange(longest, 0, 10);
        Assert.Equal(new Held(Functions: 1), dom0.Xen.HeldByDom0);
    }

    private static async Task AssertFailedAsync(TestDom0 dom0, SimulatedGuest guest, int errno, string text = "")
    {
        await Eventually.EqualAsync("5", () => dom0.ReadAsync(guest, "state"));
        Assert.StartsWith($"{errno} {text}", await dom0.ReadErrorAsync(guest), StringComparison.Ordinal);
    }

    private static async Task AssertNotServedAsync(TestDom0 dom0, SimulatedGuest guest)
    {
        await Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state"));
        var page = new RawPage(guest);
        page.Send(RawPage.ConfRead, Register.Ids);
        await dom0.ConnectedGuestAsync("lab", Edu);
        Assert.Equal("3", await dom0.ReadAsync(guest, "state"));
        Assert.True(page.IsWaiting);
        Assert.Equal(new Held(Pages: 1, Ports: 1, Functions: 2), dom0.Xen.HeldByDom0);
    }

    /// <summary>The first half of <c>xl pci-detach</c>, and the frontend's answer to it.</summary>
    private static async Task AskToRemoveAsync(TestDom0 dom0, SimulatedGuest guest, int index)
    {
        await dom0.Store.TransactAsync(async tx =>
        {
            await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / $"state-{index}", "5", tx);
            await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state", "7", tx);
        });
        await guest.Frontend.WriteStateAsync(7);
    }

    /// <summary>The changes in a backend directory from now on, in their order: <c>state=3</c>.</summary>
    private static ConcurrentQueue<string> RecordBackend(TestDom0 dom0, DomainId guest)
    {
        var changes = new ConcurrentQueue<string>();
        var directory = $"{SimulatedToolstack.BackendOf(guest)}/";
        dom0.Xen.XenStored.Changed += (path, value) =>
        {
            if (path.Text.StartsWith(directory, StringComparison.Ordinal))
                changes.Enqueue($"{path.Text[directory.Length..]}={value}");
        };
        return changes;
    }
}
