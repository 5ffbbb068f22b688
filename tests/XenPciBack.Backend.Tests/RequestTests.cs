using System.Runtime.InteropServices;
using XenPciBack.Backend.Errors;

namespace XenPciBack.Backend.Tests;

/// <summary>Requests of one guest and what another device or guest notices of them: nothing.</summary>
public class RequestTests
{
    [Fact]
    public async Task A_device_that_has_been_pulled_out_is_not_found_and_the_others_answer()
    {
        await using var dom0 = await TestDom0.StartAsync(
            TestDom0.Settings with { Aer = TestDom0.Settings.Aer with { Response = AerResponse.Report } });
        var guest = await dom0.ConnectedGuestAsync("web", Nic, Edu);
        dom0.Xen.Pci[Nic].IsPresent = false;
        Assert.Equal(-1, (await guest.Device(0).TryReadAsync(Register.Revision)).Error);
        Assert.Equal(EduIds, await guest.Device(1).ReadAsync(Register.Ids));
    }

    [Fact]
    public async Task A_guest_that_asks_without_end_does_not_keep_another_waiting()
    {
        await using var dom0 = await TestDom0.StartAsync();
        var greedy = await dom0.ConnectedGuestAsync("greedy", Nic);
        var modest = await dom0.ConnectedGuestAsync("modest", Edu);
        using var stop = new CancellationTokenSource();
        var flood = new Thread(() =>
        {
            // The flag is set again the moment it falls, with an event each time: there is always a request waiting.
            while (!stop.IsCancellationRequested)
            {
                Interlocked.Or(ref MemoryMarshal.AsRef<uint>(greedy.Frontend.Page.Bytes), 1u);
                greedy.Frontend.Port.Notify();
            }
        });
        flood.Start();
        try
        {
            for (var i = 0; i < 50; i++) Assert.Equal(EduIds, await modest.Device(0).ReadAsync(Register.Ids));
        }
        finally
        {
            await stop.CancelAsync();
            flood.Join();
        }
        Assert.Equal(0, modest.Frontend.UnansweredRequests);
    }
}
