using XenPciBack.Backend;

namespace XenPciBack.Lab.Machine;

/// <summary>The control domain: Debian with xl. Addresses (BDF) are written as 0000:00:10.0.</summary>
public sealed class DomainZero
{
    /// <summary>Where <see cref="MachineOptions.Mounts"/> puts the daemon.</summary>
    public const string DaemonDirectory = "/opt/xenpciback";

    /// <summary>What the daemon wrote since it was started.</summary>
    public const string DaemonLog = "/var/log/xenpciback.log";

    /// <summary>Far beyond any command's time under emulation, with the machine's other work beside it.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    private readonly CommandChannel _commands;
    private readonly List<GuestConsole> _freeConsoles;
    private readonly Dictionary<string, Guest> _guests = [];
    private readonly Lock _lock = new();
    private bool _daemonRuns;

    /// <param name="state">What runs in it already; null: it has just booted.</param>
    internal DomainZero(CommandChannel commands, IReadOnlyList<GuestConsole> consoles, DomainZeroState? state = null)
    {
        _commands = commands;
        _freeConsoles = [.. consoles];
        if (state is null) return;
        _daemonRuns = state.DaemonRuns;
        foreach (var (port, guest) in state.Guests)
            Enter(guest.On(this, _freeConsoles.Single(console => console.Port == port)));
    }

    internal DomainZeroState State
    {
        get
        {
            lock (_lock) return new DomainZeroState(_daemonRuns, new Dictionary<string, Guest>(_guests));
        }
    }

    /// <summary>A guest that is there, by its name.</summary>
    public Guest GuestNamed(string name)
    {
        lock (_lock) return _guests.Values.Single(guest => guest.Name == name);
    }

    /// <summary>Runs a bash script and returns its output; an exit code other than 0 is a <see cref="LabException"/>.</summary>
    public async Task<string> RunAsync(string script, TimeSpan? timeout = null)
    {
        var result = await TryRunAsync(script, timeout);
        return result.ExitCode == 0 ? result.Output
            : throw new LabException($"dom0: exit code {result.ExitCode} from: {script.Trim()}\n{LabException.Tail(result.Output)}");
    }

    /// <summary>Runs a bash script whose failure is of interest.</summary>
    public Task<CommandResult> TryRunAsync(string script, TimeSpan? timeout = null) => _commands.RunAsync(script, timeout ?? Patience);

    /// <summary>Waits until a bash condition holds; looks five times a second.</summary>
    /// <param name="what">What is awaited, for the message: "the backend to reach state 4".</param>
    public async Task WaitUntilAsync(string what, string condition, TimeSpan? timeout = null)
    {
        var limit = timeout ?? TimeSpan.FromMinutes(1);
        var result = await TryRunAsync(
            $"SECONDS=0; until {{ {condition}\n}}; do [ $SECONDS -lt {limit.TotalSeconds:0} ] || exit 1; sleep 0.2; done", limit + Patience);
        if (result.ExitCode != 0)
            throw new LabException($"dom0: waited {limit.TotalSeconds:0} s for {what}: {condition}\n{LabException.Tail(result.Output)}");
    }

    /// <summary>A file of dom0, such as a log or a device's config space.</summary>
    public async Task<byte[]> ReadFileAsync(string path) => Convert.FromBase64String(await RunAsync($"base64 -w0 '{path}'"));

    /// <summary>Copies a file of dom0 to this machine.</summary>
    public async Task CopyOutAsync(string path, string destination) => await File.WriteAllBytesAsync(destination, await ReadFileAsync(path));

    /// <summary><c>xl pci-assignable-add</c>: the stub takes the devices from whatever driver has them.</summary>
    public Task MakeAssignableAsync(params IEnumerable<string> bdfs) =>
        RunAsync($"modprobe xen-pciback && for bdf in {string.Join(' ', bdfs)}; do xl pci-assignable-add $bdf || exit; done");

    /// <summary>
    /// Loads the kernel's module anew, with the topology its backend has for all guests, and makes a device assignable afresh:
    /// what the stub or the backend remembered of it is gone. The daemon must not run.
    /// </summary>
    public async Task ReloadStubAsync(bool passthrough, string bdf)
    {
        await RunAsync($"""
            if [ -e /sys/bus/pci/drivers/pciback/{bdf} ]; then xl pci-assignable-remove {bdf}; fi
            if [ -d /sys/module/xen_pciback ]; then modprobe -r xen-pciback; fi
            modprobe xen-pciback passthrough={(passthrough ? 1 : 0)}
            echo 'xenpciback.topology = passthrough' > /run/passthrough.conf
            """);
        await MakeAssignableAsync(bdf);
    }

    /// <summary>Brings up dom0's own card on the network that joins the network cards of guests.</summary>
    /// <param name="address">Such as 10.0.0.1/24.</param>
    public async Task JoinNetworkAsync(string address) =>
        await RunAsync($"ip address add {address} dev {await BringUpCardAsync("virtio_net", XenMachine.NetworkCard)}");

    /// <summary>Loads the driver of a network card that dom0 keeps, and switches the card on.</summary>
    /// <returns>The card's name in dom0. udev gives it a lasting one soon after the driver gave it eth0, so the first name found may not last.</returns>
    public async Task<string> BringUpCardAsync(string module, string bdf)
    {
        var find = $"readlink -f /sys/class/net/* | grep /{bdf}/";
        await RunAsync($"modprobe {module} && udevadm settle");
        await WaitUntilAsync($"the card {bdf} to be up", $"card=$({find}) && ip link set ${{card##*/}} up");
        return (await RunAsync($"basename $({find})")).Trim();
    }

    /// <summary>What the hypervisor prints for a debug key: "i" for its interrupts, "e" for event channels, "M" for messages.</summary>
    public async Task<string> DebugKeysAsync(params IEnumerable<string> keys) =>
        await RunAsync($"xl dmesg -c > /dev/null; {string.Concat(keys.Select(key => $"xl debug-keys {key}; "))}xl dmesg");

    /// <summary>
    /// Lets dom0's kernel find errors in the registers of a device below a root port (its module aer_inject), one after the other:
    /// each is counted before the next. After that the kernel no longer sees what QEMU reports below this port.
    /// </summary>
    /// <param name="uncorrectable">Bits of the Uncorrectable Error Status register.</param>
    /// <param name="correctable">Bits of the Correctable Error Status register.</param>
    public Task InjectErrorsAsync(string bdf, uint uncorrectable, uint correctable, int count = 1) => RunAsync($$"""
        modprobe aer_inject
        cat > /run/inject << 'END'
        my ($bdf, $uncorrectable, $correctable, $count) = @ARGV;
        my ($bus, $slot, $function) = map { hex } $bdf =~ /^....:(..):(..)\.(.)$/;
        my @counters = map { open(my $file, '<', $_) or die "$_: $!"; $file } glob("/sys/bus/pci/devices/$bdf/aer_dev_*");
        sub counted {
            my $sum = 0;
            for my $file (@counters) {
                sysseek($file, 0, 0);
                sysread($file, my $text, 4096);
                $sum += $1 if $text =~ /^TOTAL_\w+ (\d+)/m;
            }
            return $sum;
        }
        open(my $injector, '>', '/dev/aer_inject') or die "/dev/aer_inject: $!";
        for my $left (reverse(0 .. $count - 1)) {
            my $before = counted();
            # One that comes after the kernel has counted the last and before it has cleared its status is lost with it: once more.
            do {
                # Four words of header log, then the PCI segment.
                defined(syswrite($injector, pack('CCCx L L L4 L', $bus, $slot, $function, $uncorrectable, $correctable, 0, 0, 0, 0, 0))) or die "injecting: $!";
                for (my $wait = 0; $wait < 5000 && $left && counted() == $before; $wait++) { select(undef, undef, undef, 0.001); }
            } while ($left && counted() == $before);
        }
        END
        perl /run/inject {{bdf}} {{uncorrectable}} {{correctable}} {{count}}
        """, TimeSpan.FromMinutes(10));

    /// <summary>Guests created from now on are served by this backend; the other one is told to let go.</summary>
    public async Task UseAsync(BackendKind backend)
    {
        if (_daemonRuns && backend == BackendKind.Kernel) await StopDaemonAsync();
        if (backend == BackendKind.Kernel) await UseKernelBackendAsync();
        else if (!_daemonRuns) await StartDaemonAsync();
    }

    /// <summary>Guests created from now on are served by the kernel's xen-pciback.</summary>
    public Task UseKernelBackendAsync() => RunAsync("modprobe xen-pciback && echo 1 > /sys/bus/xen-backend/drivers_autoprobe");

    /// <summary>
    /// Guests created from now on are left to the daemon, which is started and waited for. The kernel's module stays: its
    /// stub holds the devices, and xl insists on it.
    /// </summary>
    public async Task StartDaemonAsync(string arguments = "run")
    {
        await RunAsync($"""
            modprobe xen-pciback
            rm -f {DaemonLog} # another daemon may write to it, too
            nice -n -10 {DaemonDirectory}/xenpciback {arguments} >> {DaemonLog} 2>&1 &
            echo $! > /run/xenpciback.pid
            """);
        await WaitUntilAsync("the daemon to be ready or to end", $"""
            grep -q '{LogLine.Pattern(LogEvents.Ready)}' {DaemonLog} || ! kill -0 $(< /run/xenpciback.pid)
            """, TimeSpan.FromMinutes(2));
        await RunAsync($"kill -0 $(< /run/xenpciback.pid) || {{ echo the daemon ended; tail -n 40 {DaemonLog}; exit 1; }}");
        _daemonRuns = true;
    }

    /// <summary>Ends the daemon as systemd would, with SIGTERM, and waits until it is gone.</summary>
    public async Task StopDaemonAsync()
    {
        _daemonRuns = false;
        await RunAsync("kill $(< /run/xenpciback.pid)");
        await WaitUntilAsync("the daemon to end", "! kill -0 $(< /run/xenpciback.pid) 2> /dev/null");
    }

    /// <summary>Ends the daemon with SIGKILL: it has no chance to put anything in order.</summary>
    public async Task KillDaemonAsync()
    {
        _daemonRuns = false;
        await RunAsync("kill -9 $(< /run/xenpciback.pid)");
        await WaitUntilAsync("the daemon to be gone", "! kill -0 $(< /run/xenpciback.pid) 2> /dev/null");
    }

    /// <summary>Starts one more daemon, which stands by for the one that serves, and waits until it does. It writes to the same log.</summary>
    public async Task StartStandbyAsync(string arguments = "run")
    {
        await RunAsync($"""
            nice -n -10 {DaemonDirectory}/xenpciback {arguments} >> {DaemonLog} 2>&1 &
            echo $! > /run/xenpciback.standby.pid
            """);
        // Standing by it holds a lock, and has written down who it is.
        await WaitUntilAsync("the second daemon to stand by or to end",
            "[ \"$(cat /run/xenpciback/next.lock)\" = \"$(< /run/xenpciback.standby.pid)\" ] || ! kill -0 $(< /run/xenpciback.standby.pid)", TimeSpan.FromMinutes(3));
        await RunAsync($"kill -0 $(< /run/xenpciback.standby.pid) || {{ echo the second daemon ended; tail -n 40 {DaemonLog}; exit 1; }}");
    }

    /// <summary>The second daemon's turn has come, or is coming; from now on it is the one that is killed or stopped.</summary>
    public Task FollowTurnAsync() => RunAsync("mv /run/xenpciback.standby.pid /run/xenpciback.pid");

    /// <summary>What the daemon wrote to standard output and standard error since it was started.</summary>
    public Task<string> DaemonLogAsync() => RunAsync($"cat {DaemonLog}");

    /// <summary>The lines of the daemon's log with this id.</summary>
    /// <param name="id">One of <see cref="LogEvents"/>.</param>
    public async Task<IReadOnlyList<LogLine>> DaemonLogAsync(string id) =>
        [.. LogLine.Parse(await DaemonLogAsync()).Where(line => line.Event == id)];

    /// <summary>Waits until the daemon has written a line with this id about this guest and this device.</summary>
    /// <param name="id">One of <see cref="LogEvents"/>.</param>
    /// <param name="detail">What grep finds in the rest of the line.</param>
    /// <param name="count">How many such lines.</param>
    public Task WaitForLogAsync(
        string id, int? guest = null, string? device = null, string detail = "", int count = 1)
    {
        var pattern = $"{LogLine.Pattern(id, guest, device)}.*{detail}";
        var condition = $"[ $(grep -c '{pattern}' {DaemonLog}) -ge {count} ]";
        return WaitUntilAsync($"the daemon to write {id}", condition, TimeSpan.FromMinutes(2));
    }

    /// <summary><c>xl create</c> of a PV guest with these devices; returns when its command agent answers and it sees them all.</summary>
    public async Task<Guest> CreateGuestAsync(string name, IReadOnlyList<string> bdfs, GuestOptions? options = null)
    {
        var guest = await Guest.CreateAsync(this, name, bdfs, options ?? new GuestOptions());
        try
        {
            await guest.WaitUntilConnectedAsync();
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    internal GuestConsole TakeConsole()
    {
        lock (_lock)
        {
            if (_freeConsoles is not [var console, ..])
                throw new LabException("too many guests at once: no console port is left");
            _freeConsoles.RemoveAt(0);
            return console;
        }
    }

    internal void Enter(Guest guest)
    {
        lock (_lock)
        {
            _freeConsoles.Remove(guest.Console);
            _guests[guest.Console.Port] = guest;
        }
    }

    internal void Leave(Guest guest)
    {
        lock (_lock)
        {
            _guests.Remove(guest.Console.Port);
            _freeConsoles.Add(guest.Console);
        }
    }
}
