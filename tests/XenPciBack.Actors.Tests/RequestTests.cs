using System.Buffers.Binary;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>Requests of a guest from its page through the actors and back.</summary>
public class RequestTests : BackendTest
{
    [Theory]
    [InlineData(0u, 0u, 0u, 1u), InlineData(0u, 1u, 0u, 0u), InlineData(0u, 0u, 1u, 0u), InlineData(0u, 0u, 0u, 0x108u), InlineData(99u, 0u, 0u, 0x10u)]
    public async Task A_device_the_guest_does_not_have_is_not_found_whatever_is_asked(uint command, uint segment, uint bus, uint devFn)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await guest.Frontend.SendAsync(new FrontendRequest(command, segment, bus, devFn, 0, 4, 0xCAFE));
        Assert.Equal((-1, 0xCAFEu), (answer.Error, answer.Value));
    }

    [Theory]
    [InlineData(6u), InlineData(10u), InlineData(uint.MaxValue)]
    public async Task An_unknown_request_is_not_implemented(uint command)
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        Assert.Equal(-4, (await guest.Frontend.SendAsync(new FrontendRequest(command, 0, 0, 0))).Error);
    }

    [Fact]
    public async Task A_misplaced_read_is_refused_with_value_0()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        var answer = await guest.Frontend.SendAsync(new FrontendRequest(0, 0, 0, 0, Offset: 1, Size: 2, Value: 0xCAFE));
        Assert.Equal((-2, 0u), (answer.Error, answer.Value));
    }

    [Fact]
    public async Task Only_the_result_and_the_flag_change_in_the_page()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await guest.Frontend.SendAsync(new FrontendRequest(0, 0, 0, 0, Offset: 0x08, Size: 4));
        var page = guest.Frontend.Page.Bytes[..572].ToArray();
        Assert.Equal(0x2u, BinaryPrimitives.ReadUInt32LittleEndian(page));
        Assert.Equal([0, 0, 0, 0, 0x08, 4], new[] { 4, 12, 16, 20, 24, 28 }.Select(at => BinaryPrimitives.ReadInt32LittleEndian(page.AsSpan(at))));
        Assert.All(page[36..], b => Assert.Equal(0, b));
    }

    [Fact]
    public async Task A_device_that_has_been_pulled_out_is_not_found_and_the_others_answer()
    {
        await RestartBackendAsync(Settings with { Aer = Settings.Aer with { Response = AerResponse.Report } });
        var guest = await ConnectedGuestAsync("web", Nic, Edu);
        Xen.Pci[Nic].IsPresent = false;
        Assert.Equal(-1, (await guest.Frontend.ReadConfigAsync(0, 0, 0, 0x08, 4)).Error);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(guest, 0x08, 0, 4));
    }

    [Fact]
    public async Task Events_without_a_request_are_harmless_however_many()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 100_000; i++) guest.Frontend.Port.Notify();
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
    }

    [Fact]
    public async Task A_guest_that_asks_without_end_does_not_keep_another_waiting()
    {
        var greedy = await ConnectedGuestAsync("greedy", Nic);
        var modest = await ConnectedGuestAsync("modest", Edu);
        using var stop = new CancellationTokenSource();
        var flood = new Thread(() =>
        {
            // The flag is set again the moment it falls, with an event each time: there is always a request waiting.
            while (!stop.IsCancellationRequested)
            {
                Interlocked.Or(ref System.Runtime.InteropServices.MemoryMarshal.AsRef<uint>(greedy.Frontend.Page.Bytes), 1u);
                greedy.Frontend.Port.Notify();
            }
        });
        flood.Start();
        try
        {
            for (var i = 0; i < 200; i++) Assert.Equal(0x11E8_1234u, await ReadConfigAsync(modest, 0, 0, 4));
        }
        finally
        {
            await stop.CancelAsync();
            flood.Join();
        }
        Assert.Equal(0, modest.Frontend.UnansweredRequests);
    }

    [Fact]
    public async Task A_guest_that_rewrites_its_state_without_end_is_served_all_the_same()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        for (var i = 0; i < 2_000; i++) await guest.Frontend.WriteStateAsync(4);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));
        Assert.Equal("4", await ReadAsync(guest, "state"));
    }
}
