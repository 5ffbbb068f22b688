using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// Toolstacks slip and guests lie: the one concerned gets a specific error, and another guest goes on. What a frontend
/// can publish wrongly is in cases 66 to 68.
/// </summary>
public class BadInputTests
{
    private const string AtLimit = "960 of 1024 file descriptors are in use";

    [Fact]
    public async Task A_daemon_at_a_limit_of_its_own_gives_no_more_devices_and_serves_those_that_its_guests_have()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var served = await dom0.ConnectedGuestAsync("lab", Edu);
        dom0.Xen.Pci.ObjectionToMore = AtLimit;
        await dom0.RestartDaemonAsync();
        var late = await dom0.Xen.CreateGuestAsync("late", [Nic]);
        await AssertRefusedAsync(dom0, late, $"22 {Nic}: {AtLimit}", served);
    }

    [Fact]
    public async Task A_device_that_was_refused_to_a_running_guest_can_be_taken_away_and_given_later()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        dom0.Xen.Pci.ObjectionToMore = AtLimit;
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await Eventually.EqualAsync($"22 {Edu}: {AtLimit}", () => dom0.ReadErrorAsync(guest));
        dom0.Xen.Pci.ObjectionToMore = null;
        await dom0.Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await dom0.Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await Eventually.EqualAsync(2, () => guest.Frontend.Devices.Length);
    }

    [Fact]
    public async Task A_port_that_does_not_bind_is_refused_and_no_page_stays_mapped()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var options = new FrontendOptions { PublishedPort = new RemotePort(4000) };
        var liar = await dom0.Xen.CreateGuestAsync("liar", [Nic], options);
        await Eventually.IsTrueAsync(async () =>
            await dom0.ReadErrorAsync(liar) is { } error && error.Contains("4000", StringComparison.Ordinal));
        await Eventually.EqualAsync(new Held(Functions: 1), () => dom0.Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("zz", "22 dev-0 is 'zz'; expected ssss:bb:dd.f in hexadecimal")]
    [InlineData("0000:44:00.0", "22 0000:44:00.0: no such device")]
    [InlineData("0000:05:01.0", "22 0000:05:01.0: already given to a guest; detach it there first: xl pci-detach")]
    public async Task A_device_that_cannot_be_given_is_named_with_the_reason(string device, string error)
    {
        await using var dom0 = await TestDom0.StartAsync(isTimeStopped: true);
        var bystander = await dom0.ConnectedGuestAsync("lab", Edu);
        var guest = await dom0.WaitingGuestAsync(Nic);
        await dom0.Store.TransactAsync(async tx =>
        {
            await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "dev-0", device, tx);
            await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state-0", "1", tx);
            await dom0.Store.WriteAsync(TestDom0.BackendOf(guest) / "state", "1", tx);
        });
        // The last one could be on its way back.
        await dom0.AdvanceUntilDoneAsync(Eventually.EqualAsync(error, () => dom0.ReadErrorAsync(guest)));
        await AssertRefusedAsync(dom0, guest, error, bystander);
    }

    [Fact]
    public async Task A_directory_without_a_frontend_is_left_alone_until_it_has_one()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var directory = SimulatedToolstack.BackendOf(new DomainId(77));
        await dom0.Store.WriteAsync(directory / "state", "1");
        var guest = await dom0.ConnectedGuestAsync("web", Nic);
        Assert.Equal("1", await dom0.Store.ReadAsync(directory / "state"));
        Assert.Equal(NicIds, await guest.Device(0).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task A_guest_of_the_kernels_backend_is_left_to_it()
    {
        await using var dom0 = await TestDom0.StartAsync();
        dom0.Xen.Pci.ServeByKernel(new DomainId(1), 0);
        var theirs = await dom0.Xen.CreateGuestAsync("theirs", [Nic]);
        await dom0.ConnectedGuestAsync("ours", Edu);
        Assert.Equal("1", await dom0.ReadAsync(theirs, "state"));
    }

    [Fact]
    public async Task Names_in_the_directory_that_are_no_domids_are_passed_over()
    {
        await using var dom0 = await TestDom0.StartAsync();
        await dom0.Store.WriteAsync(BackendDirectory.RootOf(DomainId.Zero) / "zero/0/state", "1");
        await dom0.Store.WriteAsync(BackendDirectory.RootOf(DomainId.Zero) / "99999/0/state", "1");
        await dom0.ConnectedGuestAsync("web", Nic);
    }

    private static async Task AssertRefusedAsync(
        TestDom0 dom0, SimulatedGuest guest, string error, SimulatedGuest bystander)
    {
        await Eventually.EqualAsync(error, () => dom0.ReadErrorAsync(guest));
        await Eventually.IsTrueAsync(async () => await dom0.ReadAsync(guest, "state") is "5" or "6");
        Assert.Equal(EduIds, await bystander.Device(0).ReadAsync(Register.Ids));
    }
}
