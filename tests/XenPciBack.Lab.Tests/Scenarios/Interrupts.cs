using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// Interrupts of every kind reach a guest's drivers while packets pass, and its kernel says the same as under the kernel's backend.
/// </summary>
[Collection(SharedMachines.Name)]
public partial class Interrupts(SharedMachines machines, ITestOutputHelper log)
{
    private const int Pings = 20;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task Packets_pass_both_ways_and_drivers_use_the_line_msi_and_msix(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable, Release.Parse(release));
        QemuDevice[] devices = [scenario.Devices.Card, scenario.Devices.LineCard, scenario.Devices.ScsiAdapter];

        var kernel = await UseDriversAsync(scenario.DomainZero, devices, BackendKind.Kernel);
        await scenario.GoToAsync(Moment.Serving);
        var daemon = await UseDriversAsync(scenario.DomainZero, devices, BackendKind.Daemon);
        log.WriteLine(daemon);
        Assert.Equal(kernel, daemon);
    }

    /// <returns>What the guest's kernel said of it, without times and addresses in its memory.</returns>
    private async Task<string> UseDriversAsync(DomainZero dom0, QemuDevice[] devices, BackendKind backend)
    {
        await dom0.UseAsync(backend);
        var guest = await dom0.CreateGuestAsync("pv1", [.. devices.Select(device => device.Bdf)]);
        log.WriteLine($"-- {backend}");
        await ExchangeAsync(guest, "8139cp", "", "-pirq ", lines: 1);
        await ExchangeAsync(guest, "e1000e", "IntMode=0", "-pirq ", lines: 1);
        // Last: under the kernel's backend a driver that is loaded again has lost MSI-X.
        await ExchangeAsync(guest, "e1000e", "IntMode=2", "-msi-x ", lines: 3);
        await ScanDisksAsync(guest);
        var said = await guest.RunAsync("dmesg | grep -E '^.[^]]*. (pcifront|pci |e1000e|8139cp|vmw_pvscsi|xen)'");
        await guest.DestroyAsync();
        return Incidental().Replace(said, "");
    }

    /// <summary>Loads a driver, pings dom0, and sees that each ping was answered and interrupted the guest by the kind it should.</summary>
    private async Task ExchangeAsync(Guest guest, string driver, string parameters, string kind, int lines)
    {
        await guest.LoadCardDriverAsync(driver, parameters);
        await guest.JoinNetworkAsync($"{SharedMachine.GuestAddress}/24", SharedMachine.Address);
        var before = await InterruptsAsync(guest, "eth0", kind, lines);
        var (sent, received) = (await CountAsync(guest, "tx_packets"), await CountAsync(guest, "rx_packets"));
        await guest.PingAsync(SharedMachine.Address, Pings);
        Assert.InRange(await CountAsync(guest, "tx_packets") - sent, Pings, int.MaxValue);
        Assert.InRange(await CountAsync(guest, "rx_packets") - received, Pings, int.MaxValue);
        Assert.InRange(await InterruptsAsync(guest, "eth0", kind, lines) - before, Pings, int.MaxValue);
        await guest.UnloadCardDriverAsync(driver);
    }

    /// <summary>A SCSI adapter that QEMU gives MSI alone: each scan of its empty bus is 64 commands, and interrupts.</summary>
    private async Task ScanDisksAsync(Guest guest)
    {
        await guest.RunAsync("modprobe vmw_pvscsi && until [ -e /sys/class/scsi_host/host0/scan ]; do sleep 0.2; done");
        var before = await InterruptsAsync(guest, "vmw_pvscsi", "-msi ", lines: 1);
        await guest.RunAsync("echo '- - -' > /sys/class/scsi_host/host0/scan");
        Assert.InRange(await InterruptsAsync(guest, "vmw_pvscsi", "-msi ", lines: 1) - before, 1, int.MaxValue);
        await guest.RunAsync("rmmod vmw_pvscsi");
    }

    private static async Task<int> CountAsync(Guest guest, string counter) =>
        int.Parse(await guest.RunAsync($"cat /sys/class/net/eth0/statistics/{counter}"), CultureInfo.InvariantCulture);

    /// <summary>How often the device has interrupted the guest, over all its lines of /proc/interrupts.</summary>
    private async Task<int> InterruptsAsync(Guest guest, string driver, string kind, int lines)
    {
        var listing = (await guest.RunAsync($"grep {driver} /proc/interrupts")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        foreach (var line in listing) log.WriteLine(line);
        Assert.Equal(lines, listing.Count(line => line.Contains(kind, StringComparison.Ordinal)));
        return listing.Sum(line => int.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
    }

    [GeneratedRegex(@"^\[ *\d+\.\d+\] | at 0x[0-9a-f]{16}", RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex Incidental();
}
