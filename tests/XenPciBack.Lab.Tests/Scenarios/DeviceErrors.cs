using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>
/// QEMU lets one device of three guests report an error. That guest is crashed; the two others, which read config space and take
/// interrupts without a pause, notice nothing. Under the kernel's backend the guest with the broken device runs on.
/// </summary>
public partial class DeviceErrors(ITestOutputHelper log)
{
    private const string CompletionTimeout = "0x4000";
    private const string Generator = "virtio-rng-pci:aer=on:disable-legacy=on:root-port";

    [LabTheory]
    [MemberData(nameof(LabReleases.Usual), MemberType = typeof(LabReleases))]
    public async Task An_uncorrectable_error_crashes_the_guest_that_has_the_device_and_no_other_notices(string release)
    {
        await using var machine = await XenMachine.BootAsync(Release.Parse(release), [Generator, Generator, Generator], await LabDaemon.MountedAsync());
        var dom0 = machine.DomainZero;
        await dom0.MakeAssignableAsync(machine.Devices.Select(device => device.Bdf));

        Assert.Equal("guest 1 runs, aerState 'aerfail'", await FailAsync(machine, Backend.Kernel));
        Assert.Equal("guest 1 gone", await FailAsync(machine, Backend.Daemon));
        var said = await dom0.DaemonLogAsync();
        log.WriteLine(said);
        Assert.Matches($@"Guest \d+ crashed in [\d.]+ ms, because its device {machine.Devices[0].Bdf} is lost: non-fatal: Completion Timeout", said);
        Assert.Contains($"{machine.Devices[0].Bdf} ", await dom0.RunAsync($"{DomainZero.DaemonDirectory}/xenpciback quarantine list"), StringComparison.Ordinal);
    }

    /// <returns>What became of the first guest.</returns>
    private async Task<string> FailAsync(XenMachine machine, Backend backend)
    {
        var dom0 = machine.DomainZero;
        await dom0.UseAsync(backend);
        // The daemon sees to it that its guests' devices report their errors; under the kernel's backend that is the administrator's.
        if (backend == Backend.Kernel)
            foreach (var device in machine.Devices) await dom0.RunAsync($"setpci -s {device.Bdf} CAP_EXP+8.w=000f:000f");
        var guests = new List<Guest>();
        foreach (var (index, device) in machine.Devices.Index()) guests.Add(await dom0.CreateGuestAsync($"pv{index + 1}", [device.Bdf]));
        try
        {
            foreach (var guest in guests[1..]) await BeginLoadAsync(guest);
            var clock = Stopwatch.StartNew();
            log.WriteLine($"-- {backend}: {(await machine.MonitorAsync($"pcie_aer_inject_error {machine.Devices[0].Id} {CompletionTimeout}")).Trim()}");
            var outcome = backend == Backend.Daemon ? await AwaitDeathAsync(dom0, guests[0], clock) : await AwaitSurvivalAsync(dom0, guests[0]);
            foreach (var guest in guests[1..]) await EndLoadAsync(guest);
            return outcome;
        }
        finally
        {
            foreach (var guest in guests) await guest.DisposeAsync();
        }
    }

    private async Task<string> AwaitDeathAsync(DomainZero dom0, Guest guest, Stopwatch clock)
    {
        await dom0.WaitUntilAsync("the daemon to have crashed the guest", "grep -q 'crashed in' /var/log/xenpciback.log", TimeSpan.FromMinutes(2));
        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"crashed at most {clock.Elapsed.TotalSeconds:0.00} s after the injection"));
        await dom0.WaitUntilAsync("xl to have taken the guest down", $"! xl domid {guest.Name}", TimeSpan.FromMinutes(2));
        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"taken down by xl after {clock.Elapsed.TotalSeconds:0.00} s"));
        return "guest 1 gone";
    }

    private static async Task<string> AwaitSurvivalAsync(DomainZero dom0, Guest guest)
    {
        await dom0.WaitUntilAsync("the kernel's backend to give the guest up", $"xenstore-exists {guest.BackendPath}/aerState", TimeSpan.FromMinutes(2));
        var state = (await dom0.RunAsync($"sleep 5; xenstore-read {guest.BackendPath}/aerState")).Trim();
        await guest.RunAsync("true");
        return $"guest 1 runs, aerState '{state}'";
    }

    /// <summary>Config reads, each timed, and interrupts (the random number generator's) until <see cref="EndLoadAsync"/>.</summary>
    private static async Task BeginLoadAsync(Guest guest) => await guest.RunAsync("""
        cat > /tmp/load << 'END'
        sub now { open(my $uptime, '<', '/proc/uptime'); return (split ' ', <$uptime>)[0]; }
        sub interrupts { my $sum = 0; open(my $lines, '<', '/proc/interrupts'); while (<$lines>) { $sum += $1 if /:\s+(\d+).*virtio/; } return $sum; }
        open(my $config, '<', $ARGV[0]) or die;
        my ($reads, $longest, $interrupts) = (0, 0, interrupts());
        until (-e '/tmp/stop') {
            my $before = now();
            sysseek($config, 0, 0);
            sysread($config, my $ids, 4) == 4 or die;
            my $took = now() - $before;
            $longest = $took if $took > $longest;
            $reads++;
        }
        my $lost = grep { /not responding/ } `dmesg`;
        printf("%d reads, the longest %.0f ms, %d given up, %d interrupts\n", $reads, 1000 * $longest, $lost, interrupts() - $interrupts);
        END
        modprobe virtio_pci && modprobe virtio_rng
        for try in $(seq 100); do
            grep -q virtio /sys/class/misc/hw_random/rng_current && break
            sleep 0.2
        done
        grep -q virtio /sys/class/misc/hw_random/rng_current || { echo 'no generator:'; dmesg | tail -n 20; cat /proc/interrupts; exit 1; }
        (while [ ! -e /tmp/stop ]; do dd if=/dev/hwrng of=/dev/null bs=64 count=16 2> /dev/null; done) > /dev/null 2>&1 &
        perl /tmp/load /sys/bus/pci/devices/*/config > /tmp/load.result 2>&1 &
        """);

    private async Task EndLoadAsync(Guest guest)
    {
        await guest.RunAsync("touch /tmp/stop; until [ -s /tmp/load.result ]; do sleep 0.2; done");
        var result = (await guest.RunAsync("cat /tmp/load.result")).Trim();
        log.WriteLine($"{guest.Name}: {result}");
        var numbers = Load().Match(result);
        Assert.True(numbers.Success, result);
        int Number(string name) => int.Parse(numbers.Groups[name].Value, CultureInfo.InvariantCulture);
        Assert.InRange(Number("reads"), 1, int.MaxValue);
        Assert.InRange(Number("longest"), 0, 1000);
        Assert.Equal(0, Number("lost"));
        Assert.InRange(Number("interrupts"), 1, int.MaxValue);
    }

    [GeneratedRegex(@"^(?<reads>\d+) reads, the longest (?<longest>\d+) ms, (?<lost>\d+) given up, (?<interrupts>\d+) interrupts$", RegexOptions.CultureInvariant)]
    private static partial Regex Load();
}
