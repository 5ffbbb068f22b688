using System.Globalization;
using XenPciBack.Backend;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>With <c>aer.response = recover-then-kill</c> a guest's driver takes its network card through an error.</summary>
[Collection(SharedMachines.Name)]
public class DeviceRecovery(SharedMachines machines, ITestOutputHelper log)
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;
    private const int Pings = 20;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task A_driver_with_error_handlers_brings_its_card_back(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable, Release.Parse(release));
        var dom0 = scenario.DomainZero;
        await dom0.RunAsync("echo 'xenpciback.aer.response = recover-then-kill' > /run/recover.conf");
        await dom0.StartDaemonAsync("run --config /run/recover.conf");
        var guest = await dom0.CreateGuestAsync("pv1", [scenario.Devices.PortCard.Bdf]);
        await guest.LoadCardDriverAsync();
        await guest.JoinNetworkAsync($"{SharedMachine.GuestAddress}/24", SharedMachine.Address);

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
        await dom0.WaitForLogAsync(LogEvents.DeviceRecovered, guest.DomainId, bdf, detail: $" {said}$");
        // Linux' e1000e always wants the slot reset.
        var steps = LogLine.Parse(await dom0.DaemonLogAsync())
            .Where(line => line.Event is LogEvents.RecoveryStep or LogEvents.DeviceRecovered).TakeLast(4).ToList();
        Assert.All(steps, step => Assert.Equal((guest.DomainId, bdf), (step.Guest, step.Device)));
        string[] verdicts = ["Detected NeedsReset", "SlotReset Recovered", "Resume None"];
        Assert.Equal(verdicts, steps.SkipLast(1).Select(StepAndVerdict));
        Assert.Equal(LogEvents.DeviceRecovered, steps[^1].Event);

        await guest.RunAsync("until [ \"$(cat /sys/class/net/eth0/carrier)\" = 1 ]; do sleep 0.2; done");
        var messages = await MessagesAsync(guest);
        await guest.PingAsync(SharedMachine.Address, Pings);
        Assert.InRange(await MessagesAsync(guest) - messages, Pings, int.MaxValue);
        log.WriteLine($"after {said}: {Pings} pings answered");
    }

    /// <summary>The first and the last word of a line.</summary>
    private static string StepAndVerdict(LogLine line) => $"{line.Text.Split(' ')[0]} {line.Text.Split(' ')[^1]}";

    /// <summary>How often the card has interrupted the guest by MSI-X since its driver has set that up.</summary>
    private static async Task<int> MessagesAsync(Guest guest) =>
        int.Parse(await guest.RunAsync("awk '/msi-x.*eth0/ { sum += $2 } END { print sum + 0 }' /proc/interrupts"), CultureInfo.InvariantCulture);
}
