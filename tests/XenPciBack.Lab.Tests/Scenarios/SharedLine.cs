using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>A guest's device on an interrupt line that a driver of dom0 uses: every fourth slot of the machine has the same line.</summary>
public class SharedLine(ITestOutputHelper log)
{
    private const int WithoutMessages = 0, OfDomainZero = 4, WithMessages = 8;

    [LabFact]
    public async Task A_device_with_msix_is_given_without_its_line_and_one_without_is_refused_by_name()
    {
        await using var machine = await XenMachine.BootAsync(Release.Bookworm,
            ["rtl8139", "edu", "edu", "edu", "rtl8139", "edu", "edu", "edu", "e1000e"], await LabDaemon.MountedAsync());
        var (dom0, devices) = (machine.DomainZero, machine.Devices);
        await dom0.MakeAssignableAsync(devices[WithoutMessages].Bdf, devices[WithMessages].Bdf);
        await dom0.BringUpCardAsync("8139cp", devices[OfDomainZero].Bdf);
        await dom0.UseAsync(Backend.Daemon);

        await using var refused = await dom0.CreateGuestAsync("pv1", [devices[WithoutMessages].Bdf], new GuestOptions { AwaitDevices = false });
        await dom0.WaitUntilAsync("the device to be refused", $"xenstore-exists /local/domain/0/error/backend/pci/{refused.DomainId}/0/error");
        Assert.Matches($"^22 {devices[WithoutMessages].Bdf}: it shares interrupt line [0-9]+ with .+ of this host",
            await dom0.RunAsync($"xenstore-read /local/domain/0/error/backend/pci/{refused.DomainId}/0/error"));

        await using var guest = await dom0.CreateGuestAsync("pv2", [devices[WithMessages].Bdf]);
        await guest.LoadCardDriverAsync();
        Assert.Contains("-msi-x ", await guest.RunAsync("grep eth0 /proc/interrupts"), StringComparison.Ordinal);
        await guest.UnloadCardDriverAsync();
        Assert.Contains("DisINTx+", await dom0.RunAsync($"lspci -vv -s {devices[WithMessages].Bdf} | grep Control:"), StringComparison.Ordinal);
        var said = await dom0.DaemonLogAsync();
        log.WriteLine(said);
        Assert.Contains($"{devices[WithMessages].Bdf} keeps its interrupt line silent", said, StringComparison.Ordinal);
    }
}
