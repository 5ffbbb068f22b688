using XenPciBack.Backend;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>A guest's device on an interrupt line that a driver of dom0 uses: every fourth slot of the machine has the same line.</summary>
[Collection(SharedMachines.Name)]
public class SharedLine(SharedMachines machines, ITestOutputHelper log)
{
    [LabFact]
    public async Task A_device_with_msix_is_given_without_its_line_and_one_without_is_refused_by_name()
    {
        await using var scenario = await machines.BeginAsync(Moment.Serving);
        var dom0 = scenario.DomainZero;
        var (withoutMessages, withMessages) = (scenario.Devices.SharingCard.Bdf, scenario.Devices.Card.Bdf);
        await dom0.BringUpCardAsync("8139cp", scenario.Devices.DomainZeroCard.Bdf);

        var refused = await dom0.CreateGuestAsync("pv1", [withoutMessages], new GuestOptions { AwaitDevices = false });
        await dom0.WaitUntilAsync("the device to be refused", $"xenstore-exists /local/domain/0/error/backend/pci/{refused.DomainId}/0/error");
        Assert.Matches($"^22 {withoutMessages}: it shares interrupt line [0-9]+ with .+ of this host",
            await dom0.RunAsync($"xenstore-read /local/domain/0/error/backend/pci/{refused.DomainId}/0/error"));

        var guest = await dom0.CreateGuestAsync("pv2", [withMessages]);
        await guest.LoadCardDriverAsync();
        Assert.Contains("-msi-x ", await guest.RunAsync("grep eth0 /proc/interrupts"), StringComparison.Ordinal);
        await guest.UnloadCardDriverAsync();
        var control = await dom0.RunAsync($"lspci -vv -s {withMessages} | grep Control:");
        Assert.Contains("DisINTx+", control, StringComparison.Ordinal);
        log.WriteLine(await dom0.DaemonLogAsync());
        Assert.Contains(await dom0.DaemonLogAsync(LogEvents.LineSilent),
            line => (line.Guest, line.Device) == (guest.DomainId, withMessages));
    }
}
