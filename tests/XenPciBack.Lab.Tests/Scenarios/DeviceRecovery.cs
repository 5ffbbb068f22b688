using System.Globalization;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>With <c>aer.response = recover-then-kill</c> a guest's driver takes its network card through an error.</summary>
public class DeviceRecovery(ITestOutputHelper log)
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;
    private const string DomainZeroAddress = "10.0.0.1";
    private const int Pings = 20;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_driver_with_error_handlers_brings_its_card_back(string release)
    {
        await using var machine = await XenMachine.BootAsync(Release.Parse(release), ["e1000e:root-port"], await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;
        await dom0.MakeAssignableAsync(machine.Devices[0].Bdf);
        await dom0.JoinNetworkAsync($"{DomainZeroAddress}/24");
        await dom0.RunAsync("echo 'xenpciback.aer.response = recover-then-kill' > /run/recover.conf");
        await dom0.StartDaemonAsync("run --config /run/recover.conf");
        await using var guest = await dom0.CreateGuestAsync("pv1", [machine.Devices[0].Bdf]);
        await guest.LoadCardDriverAsync();
        await guest.JoinNetworkAsync("10.0.0.2/24", DomainZeroAddress);

        await RecoverAsync(dom0, guest, CompletionTimeout, "non-fatal: Completion Timeout");
        // After this one the host resets everything below the port.
        await RecoverAsync(dom0, guest, MalformedTlp, "fatal: no status");

        log.WriteLine(await dom0.DaemonLogAsync());
        log.WriteLine(await guest.RunAsync("dmesg | grep e1000e; grep eth0 /proc/interrupts"));
        Assert.Contains("No device is in quarantine.", await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback quarantine list"), StringComparison.Ordinal);
    }

    private async Task RecoverAsync(DomainZero dom0, Guest guest, uint error, string said)
    {
        var bdf = guest.Bdfs[0];
        // Not QEMU: its e1000e cannot be made to report errors.
        await dom0.InjectErrorsAsync(bdf, error, correctable: 0);
        await dom0.WaitUntilAsync("the guest's driver to have brought the card back", $"grep '{bdf} works again after an error, {said}' {DomainZero.DaemonLog}", TimeSpan.FromMinutes(2));
        // Linux' e1000e always wants the slot reset.
        var steps = await dom0.RunAsync($"grep -E 'guest {guest.DomainId} {bdf}: .* (answered|works again)' {DomainZero.DaemonLog} | tail -n 4 | sed 's/.*{bdf}: //'");
        Assert.Equal($"Detected answered NeedsReset\nSlotReset answered Recovered\nResume answered None\n{bdf} works again after an error, {said}\n", steps);

        await guest.RunAsync("until [ \"$(cat /sys/class/net/eth0/carrier)\" = 1 ]; do sleep 0.2; done");
        var messages = await MessagesAsync(guest);
        await guest.PingAsync(DomainZeroAddress, Pings);
        Assert.InRange(await MessagesAsync(guest) - messages, Pings, int.MaxValue);
        log.WriteLine($"after {said}: {Pings} pings answered");
    }

    /// <summary>How often the card has interrupted the guest by MSI-X since its driver has set that up.</summary>
    private static async Task<int> MessagesAsync(Guest guest) =>
        int.Parse(await guest.RunAsync("awk '/msi-x.*eth0/ { sum += $2 } END { print sum + 0 }' /proc/interrupts"), CultureInfo.InvariantCulture);
}
