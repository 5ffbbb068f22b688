using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Actors.Tests;

/// <summary>Toolstacks slip and guests lie: the one concerned gets a specific error, and another guest goes on.</summary>
public class BadInputTests : BackendTest
{
    private async Task AssertRefusedAsync(SimulatedGuest guest, string error, SimulatedGuest bystander)
    {
        await EventuallyAsync(error, () => ReadErrorAsync(guest));
        await EventuallyAsync("5", async () => await ReadAsync(guest, "state") is "6" ? "5" : await ReadAsync(guest, "state"));
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
    }

    public static TheoryData<FrontendOptions, string> LyingFrontends => new()
    {
        { new FrontendOptions { Magic = "6" }, "14 the frontend's magic is '6'; expected '7'" },
        { new FrontendOptions { Magic = null }, "14 the frontend's magic is missing; expected '7'" },
        { new FrontendOptions { PublishedGrant = new GrantReference(0) }, "22 the frontend's pci-op-ref is '0'; expected a grant reference, a number above 0" },
    };

    [Theory]
    [MemberData(nameof(LyingFrontends))]
    public async Task A_frontend_that_breaks_the_handshake_is_refused(FrontendOptions options, string error)
    {
        var bystander = await ConnectedGuestAsync("lab", Edu);
        await AssertRefusedAsync(await Xen.CreateGuestAsync("liar", [Nic], options), error, bystander);
    }

    [Fact]
    public async Task A_daemon_at_a_limit_of_its_own_gives_no_more_devices_and_takes_up_what_its_guests_have()
    {
        var served = await ConnectedGuestAsync("lab", Edu);
        Xen.Pci.ObjectionToMore = "960 of 1024 file descriptors are in use";
        await StopBackendAsync();
        await StartBackendAsync();
        await AssertRefusedAsync(await Xen.CreateGuestAsync("late", [Nic]), $"22 {Nic}: 960 of 1024 file descriptors are in use", served);
    }

    [Fact]
    public async Task A_device_that_was_refused_to_a_running_guest_can_be_taken_away_and_given_later()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Xen.Pci.ObjectionToMore = "960 of 1024 file descriptors are in use";
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await EventuallyAsync($"22 {Edu}: 960 of 1024 file descriptors are in use", () => ReadErrorAsync(guest));
        Xen.Pci.ObjectionToMore = null;
        await Xen.Toolstack.DetachAsync(guest.Id, Edu);
        await Xen.Toolstack.AttachAsync(guest.Id, Edu);
        await EventuallyAsync(2, () => guest.Frontend.Devices.Length);
    }

    [Fact]
    public async Task A_grant_that_does_not_exist_is_refused()
    {
        var bystander = await ConnectedGuestAsync("lab", Edu);
        var liar = await Xen.CreateGuestAsync("liar", [Nic], new FrontendOptions { PublishedGrant = new GrantReference(4000) });
        await EventuallyAsync(true, async () => await ReadErrorAsync(liar) is { } error && error.Contains("4000", StringComparison.Ordinal));
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
    }

    [Fact]
    public async Task A_port_that_does_not_bind_is_refused_and_the_page_let_go()
    {
        var liar = await Xen.CreateGuestAsync("liar", [Nic], new FrontendOptions { PublishedPort = new RemotePort(4000) });
        await EventuallyAsync(true, async () => await ReadErrorAsync(liar) is { } error && error.Contains("4000", StringComparison.Ordinal));
        await EventuallyAsync(new Held(Functions: 1), () => Xen.HeldByDom0);
    }

    [Fact]
    public async Task A_frontend_that_claims_to_be_connected_is_not_believed()
    {
        var liar = await Xen.CreateGuestAsync("liar", [Nic], new FrontendOptions { ConnectsEarly = true });
        await EventuallyAsync("3", () => ReadAsync(liar, "state"));
        Assert.Equal(new Held(Functions: 1), Xen.HeldByDom0);
    }

    [Theory]
    [InlineData("zz", "22 dev-0 is 'zz'; expected ssss:bb:dd.f in hexadecimal")]
    [InlineData("0000:44:00.0", "22 0000:44:00.0: no such device")]
    [InlineData("0000:05:01.0", "22 0000:05:01.0: already given to a guest; detach it there first: xl pci-detach")]
    public async Task A_device_that_cannot_be_given_is_named_with_the_reason(string device, string error)
    {
        var bystander = await ConnectedGuestAsync("lab", Edu);
        var guest = await Xen.CreateGuestAsync("web", [Nic], new FrontendOptions { IsSilent = true });
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        await Store.TransactAsync(async tx =>
        {
            await Store.WriteAsync(BackendOf(guest) / "dev-0", device, tx);
            await Store.WriteAsync(BackendOf(guest) / "state-0", "1", tx);
            await Store.WriteAsync(BackendOf(guest) / "state", "1", tx);
        });
        await AssertRefusedAsync(guest, error, bystander);
    }

    [Fact]
    public async Task A_directory_without_a_frontend_is_left_alone_until_it_has_one()
    {
        var directory = SimulatedToolstack.BackendOf(new DomainId(77));
        await Store.WriteAsync(directory / "state", "1");
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal("1", await Store.ReadAsync(directory / "state"));
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
    }

    [Fact]
    public async Task A_guest_of_the_kernels_backend_is_left_to_it()
    {
        Xen.Pci.ServeByKernel(new DomainId(1), 0);
        var theirs = await Xen.CreateGuestAsync("theirs", [Nic]);
        await ConnectedGuestAsync("ours", Edu);
        Assert.Equal("1", await ReadAsync(theirs, "state"));
    }

    [Fact]
    public async Task Names_in_the_directory_that_are_no_domids_are_passed_over()
    {
        await Store.WriteAsync(BackendDirectory.RootOf(DomainId.Zero) / "zero/0/state", "1");
        await Store.WriteAsync(BackendDirectory.RootOf(DomainId.Zero) / "99999/0/state", "1");
        await ConnectedGuestAsync("web", Nic);
    }
}
