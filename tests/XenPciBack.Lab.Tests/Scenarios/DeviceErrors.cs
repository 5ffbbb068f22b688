using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Backend;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// Devices report errors: a guest whose device is lost is crashed, and the others, which read config space and take interrupts
/// without a pause, notice nothing. Under the kernel's backend the guest with the broken device runs on.
/// </summary>
[Collection(SharedMachines.Name)]
public partial class DeviceErrors(SharedMachines machines, ITestOutputHelper log)
{
    // Bits of the error status registers (PCI Express Base Specification, Advanced Error Reporting).
    private const uint ReceiverError = 1, CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;

    /// <summary>Six guests are there at once.</summary>
    private const int MemoryMiB = 192;

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task An_uncorrectable_error_crashes_the_guests_that_have_the_device_and_no_other_notices(string release)
    {
        await using var scenario = await machines.BeginAsync(Moment.Assignable, Release.Parse(release));
        var (alone, ofOnePort) = (scenario.Devices.Reporters, scenario.Devices.ReportersOfOnePort);
        if (LabReleases.AreAll)
        {
            await Under_the_kernels_backend_the_guest_runs_on(scenario.Machine, alone);
            await scenario.GoToAsync(Moment.Assignable);
        }

        var machine = scenario.Machine;
        // So that a storm of correctable errors is counted as one, however slowly it comes.
        await machine.DomainZero.RunAsync("echo 'xenpciback.aer.correctable.window = 1h' > /run/errors.conf");
        await machine.DomainZero.StartDaemonAsync("run --config /run/errors.conf");
        var guests = new GuestSet(machine.DomainZero);
        var (single, storm) = await guests.AddAsync(("single", alone[0]), ("storm", alone[1]));
        var (correctable, restarted) =
            await guests.AddAsync(("correctable", alone[3]), ("restarted", alone[2]), secondsOnCrash: "restart");
        var (first, second) = await guests.AddAsync(("first", ofOnePort[0]), ("second", ofOnePort[1]));
        Guest[] bystanders = [first, second];

        foreach (var bystander in bystanders) await GuestLoad.BeginAsync(bystander);
        await One_error_ends_its_guest(machine, single);
        await A_thousand_correctable_errors_end_nobody(machine, correctable);
        await A_thousand_uncorrectable_errors_end_one_guest_once(machine, storm);
        await Errors_of_two_guests_at_once_end_both(machine, fatal: restarted, nonFatal: correctable);
        foreach (var bystander in bystanders) await EndLoadAsync(bystander);

        var again = await A_guest_that_xl_restarts_runs_without_the_device(machine, restarted);
        await An_error_of_a_port_ends_every_guest_below_it(machine, bystanders);

        log.WriteLine(await machine.DomainZero.DaemonLogAsync());
        Assert.Equal(guests.Created, (await machine.DomainZero.DaemonLogAsync(LogEvents.GuestCrashed)).Count);
        await again.RunAsync("true");
    }

    private async Task Under_the_kernels_backend_the_guest_runs_on(XenMachine machine, QemuDevice[] devices)
    {
        var dom0 = machine.DomainZero;
        await dom0.UseAsync(BackendKind.Kernel);
        // The daemon sees to it that its guests' devices report their errors; under the kernel's backend that is the administrator's.
        foreach (var device in devices) await dom0.RunAsync($"setpci -s {device.Bdf} CAP_EXP+8.w=000f:000f");
        var guests = new GuestSet(dom0);
        var broken = await guests.CreateAsync("broken", devices[0]);
        var (first, second) = await guests.AddAsync(("first", devices[1]), ("second", devices[2]));
        Guest[] bystanders = [first, second];
        foreach (var bystander in bystanders) await GuestLoad.BeginAsync(bystander);

        await InjectAsync(machine, broken, CompletionTimeout);
        await dom0.WaitUntilAsync("the kernel's backend to give the guest up", $"xenstore-exists {broken.BackendPath}/aerState", TimeSpan.FromMinutes(2));
        Assert.Equal("aerfail", (await dom0.RunAsync($"sleep 5; xenstore-read {broken.BackendPath}/aerState")).Trim());
        await broken.RunAsync("true");

        foreach (var bystander in bystanders) await EndLoadAsync(bystander);
    }

    private async Task One_error_ends_its_guest(XenMachine machine, Guest guest)
    {
        await MarkAsync(machine.DomainZero);
        await InjectAsync(machine, guest, CompletionTimeout);
        await AssertCrashesAsync(machine.DomainZero, guest, "non-fatal: Completion Timeout");
        await machine.DomainZero.WaitUntilAsync("xl to have taken the guest down", $"! xl domid {guest.Name}", TimeSpan.FromMinutes(2));
        Assert.Contains($"{guest.Bdfs[0]} ", await machine.DomainZero.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback quarantine list"), StringComparison.Ordinal);
    }

    private async Task A_thousand_correctable_errors_end_nobody(XenMachine machine, Guest guest)
    {
        // Not QEMU: it sends no message of a correctable error.
        await machine.DomainZero.InjectErrorsAsync(guest.Bdfs[0], uncorrectable: 0, correctable: ReceiverError, count: 1000);
        await machine.DomainZero.WaitForLogAsync(
            LogEvents.DeviceError, device: guest.Bdfs[0], detail: " correctable: Receiver Error; 1000 ");
        await guest.RunAsync("true");
        log.WriteLine($"{guest.Name}: 1000 correctable errors counted, and it runs");
    }

    private async Task A_thousand_uncorrectable_errors_end_one_guest_once(XenMachine machine, Guest guest)
    {
        await MarkAsync(machine.DomainZero);
        for (var i = 0; i < 1000; i++) await InjectAsync(machine, guest, CompletionTimeout);
        await AssertCrashesAsync(machine.DomainZero, guest, "non-fatal: Completion Timeout");
        log.WriteLine($"of 1000, dom0's kernel counted {await machine.DomainZero.RunAsync($"grep TOTAL /sys/bus/pci/devices/{guest.Bdfs[0]}/aer_dev_nonfatal")}".Trim());
    }

    private async Task Errors_of_two_guests_at_once_end_both(XenMachine machine, Guest fatal, Guest nonFatal)
    {
        await MarkAsync(machine.DomainZero);
        await Task.WhenAll(InjectAsync(machine, fatal, MalformedTlp), machine.DomainZero.InjectErrorsAsync(nonFatal.Bdfs[0], CompletionTimeout, correctable: 0));
        // Linux asks a function for its error status only while its link can be trusted.
        await AssertCrashesAsync(machine.DomainZero, fatal, "fatal: no status");
        await AssertCrashesAsync(machine.DomainZero, nonFatal, "non-fatal: Completion Timeout");
    }

    private static async Task<Guest> A_guest_that_xl_restarts_runs_without_the_device(XenMachine machine, Guest crashed)
    {
        var next = await crashed.RestartedAsync();
        Assert.Equal("", await next.RunAsync("ls /sys/bus/pci/devices"));
        var refusals = await machine.DomainZero.DaemonLogAsync(LogEvents.Refused);
        Assert.Contains(refusals, refusal => refusal.Guest == next.DomainId
            && refusal.Text.Contains($"{next.Bdfs[0]}: in quarantine", StringComparison.Ordinal));
        return next;
    }

    private async Task An_error_of_a_port_ends_every_guest_below_it(XenMachine machine, Guest[] guests)
    {
        var port = machine.Devices.Single(device => device.Bdf == guests[0].Bdfs[0]).RootPort!;
        await MarkAsync(machine.DomainZero);
        await machine.MonitorAsync($"pcie_aer_inject_error {port.Id} 0x{CompletionTimeout:x}");
        foreach (var guest in guests) await AssertCrashesAsync(machine.DomainZero, guest, "non-fatal: Completion Timeout", port.Bdf);
        // Created at once, the two have their domain ids in either order.
        var named = guests.OrderBy(guest => guest.DomainId).Select(guest => $"guest {guest.DomainId} with {guest.Bdfs[0]}");
        var errors = await machine.DomainZero.DaemonLogAsync(LogEvents.DeviceError);
        Assert.Contains(errors, error => error.Device == port.Bdf
            && error.Text.Contains(" non-fatal: Completion Timeout; ", StringComparison.Ordinal)
            && error.Text.EndsWith($" {string.Join(", ", named)}", StringComparison.Ordinal));
    }

    private static async Task InjectAsync(XenMachine machine, Guest guest, uint status)
    {
        var device = machine.Devices.Single(device => device.Bdf == guest.Bdfs[0]);
        await machine.MonitorAsync($"pcie_aer_inject_error {device.Id} 0x{status:x}");
    }

    /// <summary>Puts the time of day into dom0's kernel log, right before an injection.</summary>
    private static async Task MarkAsync(DomainZero dom0) => await dom0.RunAsync("echo lab-mark $(date +%s.%N) > /dev/kmsg");

    /// <summary>Waits until the daemon has crashed the guest, and says how long that took, by dom0's clock.</summary>
    /// <param name="reporter">Who reports the error, if it is not the guest's device.</param>
    private async Task AssertCrashesAsync(DomainZero dom0, Guest guest, string reason, string? reporter = null)
    {
        await dom0.WaitForLogAsync(LogEvents.GuestCrashed, guest.DomainId);
        var crashes = await dom0.DaemonLogAsync(LogEvents.GuestCrashed);
        var crash = Assert.Single(crashes, line => line.Guest == guest.DomainId);
        Assert.Equal(guest.Bdfs[0], crash.Device);
        Assert.EndsWith($": {reason}", crash.Text, StringComparison.Ordinal);

        var heard = await dom0.RunAsync($"dmesg | tac | sed '/lab-mark/q' | tac | grep -E 'lab-mark|error message received from {reporter ?? guest.Bdfs[0]}'");
        var times = KernelTime().Matches(heard).Select(time => double.Parse(time.Groups[1].Value, CultureInfo.InvariantCulture)).ToList();
        var marked = double.Parse(Mark().Match(heard).Groups[1].Value, CultureInfo.InvariantCulture);
        var sinceInjection = (crash.At.TotalSeconds - marked % 86400 + 86400) % 86400;
        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{guest.Name} crashed {sinceInjection:0.00} s after the injection was ordered, {sinceInjection - (times[1] - times[0]):0.00} s after dom0's kernel had heard of the error"));
    }

    private async Task EndLoadAsync(Guest guest)
    {
        var load = await GuestLoad.EndAsync(guest);
        log.WriteLine($"{guest.Name}: {load}");
        Assert.InRange(load.Reads, 1, int.MaxValue);
        Assert.InRange(load.Longest, 0, 1000);
        Assert.Equal(0, load.GivenUp);
        Assert.InRange(load.Interrupts, 1, int.MaxValue);
    }

    [GeneratedRegex(@"^\[ *([\d.]+)\]", RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex KernelTime();

    [GeneratedRegex(@"lab-mark ([\d.]+)", RegexOptions.CultureInvariant)]
    private static partial Regex Mark();

    /// <summary>Guests with a device each.</summary>
    private sealed class GuestSet(DomainZero dom0)
    {
        private readonly List<Guest> _guests = [];

        public int Created => _guests.Count;

        /// <summary>Creates two at once: they boot in little more time than one.</summary>
        public async Task<(Guest First, Guest Second)> AddAsync((string Name, QemuDevice Device) first, (string Name, QemuDevice Device) second, string secondsOnCrash = "destroy")
        {
            var (one, other) = (CreateAsync(first.Name, first.Device), CreateAsync(second.Name, second.Device, secondsOnCrash));
            return (await one, await other);
        }

        public async Task<Guest> CreateAsync(string name, QemuDevice device, string onCrash = "destroy")
        {
            var guest = await dom0.CreateGuestAsync(name, [device.Bdf], new GuestOptions { MemoryMiB = MemoryMiB, OnCrash = onCrash });
            lock (_guests) _guests.Add(guest);
            return guest;
        }
    }
}
