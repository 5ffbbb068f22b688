using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>Config reads, each timed, and the interrupts of a device, without a pause in a guest.</summary>
/// <param name="Reads">Config reads that were answered.</param>
/// <param name="Longest">How long the longest of them took, in ms.</param>
/// <param name="GivenUp">Operations the guest's frontend did not wait for any longer.</param>
internal sealed partial record GuestLoad(int Reads, int Longest, int GivenUp, int Interrupts)
{
    /// <summary>With a virtio-rng, which interrupts for each portion of random bytes.</summary>
    public static async Task BeginAsync(Guest guest)
    {
        await guest.RunAsync("""
            modprobe -q virtio_pci # built in since Linux 6.12 of Debian 13
            modprobe virtio_rng
            for try in $(seq 100); do
                grep -q virtio /sys/class/misc/hw_random/rng_current && break
                sleep 0.2
            done
            grep -q virtio /sys/class/misc/hw_random/rng_current || { echo 'no generator:'; dmesg | tail -n 20; cat /proc/interrupts; exit 1; }
            (while [ ! -e /tmp/stop ]; do dd if=/dev/hwrng of=/dev/null bs=64 count=16 2> /dev/null; done) > /dev/null 2>&1 &
            """);
        await BeginReadingAsync(guest, interrupts: "virtio");
    }

    /// <summary>With a network card, whose driver is loaded: packets there and back, five in a second.</summary>
    public static async Task BeginPacketsAsync(Guest guest, string other)
    {
        await guest.RunAsync($"(ping -q -i 0.2 {other} > /tmp/packets.result & echo $! > /tmp/packets.pid; wait; touch /tmp/packets.end) > /dev/null 2>&1 &");
        await BeginReadingAsync(guest, interrupts: "eth0");
    }

    /// <summary>Ends the packets.</summary>
    /// <returns>How many were sent, and how many of them were not answered.</returns>
    public static async Task<(int Sent, int Lost)> EndPacketsAsync(Guest guest)
    {
        var said = await guest.RunAsync("kill -INT $(cat /tmp/packets.pid); until [ -e /tmp/packets.end ]; do sleep 0.2; done; cat /tmp/packets.result");
        var counts = Packets().Match(said);
        if (!counts.Success) throw new LabException($"the packets of guest {guest.Name} were not counted: {said}");
        int Number(int group) => int.Parse(counts.Groups[group].Value, CultureInfo.InvariantCulture);
        return (Number(1), Number(1) - Number(2));
    }

    private static async Task BeginReadingAsync(Guest guest, string interrupts) => await guest.RunAsync("""
        cat > /tmp/load << 'END'
        sub now { open(my $uptime, '<', '/proc/uptime'); return (split ' ', <$uptime>)[0]; }
        sub interrupts { my $sum = 0; open(my $lines, '<', '/proc/interrupts'); while (<$lines>) { $sum += $1 if /:\s+(\d+).*$ARGV[1]/; } return $sum; }
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
        """ + $"\nset -- /sys/bus/pci/devices/*/config; perl /tmp/load $1 {interrupts} > /tmp/load.result 2>&1 &");

    public static async Task<GuestLoad> EndAsync(Guest guest)
    {
        var result = (await guest.RunAsync("touch /tmp/stop; until [ -s /tmp/load.result ]; do sleep 0.2; done; cat /tmp/load.result")).Trim();
        var numbers = Result().Match(result);
        if (!numbers.Success) throw new LabException($"the load in guest {guest.Name} failed: {result}");
        int Number(int group) => int.Parse(numbers.Groups[group].Value, CultureInfo.InvariantCulture);
        return new GuestLoad(Number(1), Number(2), Number(3), Number(4));
    }

    [GeneratedRegex(@"(\d+) packets transmitted, (\d+) (packets )?received", RegexOptions.CultureInvariant)]
    private static partial Regex Packets();

    [GeneratedRegex(@"^(\d+) reads, the longest (\d+) ms, (\d+) given up, (\d+) interrupts$", RegexOptions.CultureInvariant)]
    private static partial Regex Result();
}
