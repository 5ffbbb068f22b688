using System.Globalization;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Machine;

/// <summary>How a guest differs from the lab's usual one.</summary>
public sealed record GuestOptions
{
    /// <summary>Memory in MiB.</summary>
    public int MemoryMiB { get; init; } = 384;

    /// <summary>What follows a BDF in xl's <c>pci=</c> list, such as <c>permissive=1</c>.</summary>
    public string DeviceOptions { get; init; } = "";

    /// <summary>What xl does with the guest when it has crashed: <c>destroy</c>, <c>restart</c>, ...</summary>
    public string OnCrash { get; init; } = "destroy";

    /// <summary>Further lines of xl's configuration file.</summary>
    public string Configuration { get; init; } = "";

    /// <summary>How long the guest may take from xl create to all its devices.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Whether to wait for the devices; without it a guest nobody serves can be made.</summary>
    public bool AwaitDevices { get; init; } = true;

    /// <summary>Whether its kernel's frontend is loaded; without it the guest has no PCI devices, and the script raw-frontend.pl can take its place.</summary>
    public bool LoadPcifront { get; init; } = true;

    /// <summary>Whether its console is a shell for a person, instead of the lab's command agent.</summary>
    public bool Interactive { get; init; }
}

/// <summary>A PV guest: Debian's kernel, xen-pcifront, busybox, lspci, setpci and perl. Destroyed on dispose.</summary>
public sealed class Guest : IAsyncDisposable
{
    private readonly DomainZero _dom0;
    private readonly GuestOptions _options;
    private bool _gone;

    private Guest(
        DomainZero dom0, string name, int domainId, IReadOnlyList<string> bdfs, GuestOptions options,
        GuestConsole console)
    {
        (_dom0, _options, Console) = (dom0, options, console);
        (Name, DomainId, Bdfs) = (name, domainId, bdfs);
    }

    public string Name { get; }

    public int DomainId { get; }

    /// <summary>The host addresses of the devices it was created with.</summary>
    public IReadOnlyList<string> Bdfs { get; }

    /// <summary>The backend's directory in xenstore.</summary>
    public string BackendPath => $"/local/domain/0/backend/pci/{DomainId}/0";

    /// <summary>The guest's own directory in xenstore.</summary>
    public string FrontendPath => $"/local/domain/{DomainId}/device/pci/0";

    /// <summary>What its kernel wrote to the console while it booted; later messages are in dmesg.</summary>
    public string ConsoleLog => Console.Agent.Chatter;

    internal GuestConsole Console { get; }

    internal static async Task<Guest> CreateAsync(
        DomainZero dom0, string name, IReadOnlyList<string> bdfs, GuestOptions options)
    {
        await dom0.RunAsync($"{WriteConfiguration(name, bdfs, options)}\nxl create /run/{name}.cfg");
        return await AttachAsync(dom0, name, bdfs, options);
    }

    private static async Task<Guest> AttachAsync(
        DomainZero dom0, string name, IReadOnlyList<string> bdfs, GuestOptions options)
    {
        var domainId = int.Parse(await dom0.RunAsync($"xl domid {name}"), CultureInfo.InvariantCulture);
        var console = dom0.TakeConsole();
        console.Agent.BeginAgent($"guest {name}");
        var guest = new Guest(dom0, name, domainId, bdfs, options, console);
        dom0.Enter(guest);
        var joined = $"/lab/guest-console $(/lab/port {console.Port}) {domainId}";
        await dom0.RunAsync($"setsid {joined} > /run/{name}.console 2>&1 &");
        return guest;
    }

    /// <summary>The same guest on a machine that was set to a moment at which it was there.</summary>
    internal Guest On(DomainZero dom0, GuestConsole console) => new(dom0, Name, DomainId, Bdfs, _options, console);

    /// <summary>Runs a script of busybox's shell and returns its output; an exit code other than 0 is a <see cref="LabException"/>.</summary>
    public async Task<string> RunAsync(string script, TimeSpan? timeout = null)
    {
        var result = await TryRunAsync(script, timeout);
        return result.ExitCode == 0 ? result.Output
            : throw new LabException($"guest {Name}: exit code {result.ExitCode} from: {script.Trim()}\n{LabException.Tail(result.Output)}");
    }

    /// <summary>Runs a script whose failure is of interest.</summary>
    public Task<CommandResult> TryRunAsync(string script, TimeSpan? timeout = null) =>
        Console.Agent.RunAsync(script, timeout ?? TimeSpan.FromMinutes(3));

    /// <summary>Loads the driver of its only network card and switches the card on, which sets up its interrupts.</summary>
    public Task LoadCardDriverAsync(string driver = "e1000e", string parameters = "") =>
        RunAsync($"modprobe {driver} {parameters} && until ip link set eth0 up 2> /dev/null; do sleep 0.2; done");

    public Task UnloadCardDriverAsync(string driver = "e1000e") => RunAsync($"ip link set eth0 down && rmmod {driver}");

    /// <summary>Gives its network card an address, waits for the link, and reaches another end of the network once.</summary>
    /// <param name="address">Such as 10.0.0.2/24.</param>
    public Task JoinNetworkAsync(string address, string other) => RunAsync($"""
        ip address add {address} dev eth0
        until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.2; done
        ping -c 1 -w 60 {other}
        """);

    /// <summary>Sends packets that are answered, each within two minutes; a lost one is a <see cref="LabException"/>.</summary>
    public Task PingAsync(string other, int packets) => RunAsync($"ping -c {packets} -i 0.2 -w 120 {other}");

    /// <summary>The guest that xl starts in the place of this one, which crashed. Whether it gets its devices again is not waited for.</summary>
    public async Task<Guest> RestartedAsync()
    {
        await _dom0.WaitUntilAsync($"xl to have restarted guest {Name}", $"domid=$(xl domid {Name}) && [ $domid != {DomainId} ]", TimeSpan.FromMinutes(2));
        Leave();
        var next = await AttachAsync(_dom0, Name, Bdfs, _options with { AwaitDevices = false });
        await next.WaitUntilConnectedAsync();
        return next;
    }

    /// <summary>Switches the guest off from inside, and waits until xl has taken it down.</summary>
    public async Task ShutdownAsync()
    {
        await TryRunAsync("(sleep 1; poweroff -f) > /dev/null 2>&1 &");
        // The xl that created the guest stays to take it down; the guest's name is gone long before xl is done.
        await _dom0.WaitUntilAsync($"xl to take guest {Name} down", $"! pgrep -f 'xl create /run/{Name}.cfg' > /dev/null", TimeSpan.FromMinutes(2));
        Leave();
    }

    /// <summary><c>xl destroy</c>.</summary>
    public async Task DestroyAsync()
    {
        await _dom0.RunAsync($"xl destroy {Name}");
        Leave();
    }

    public async ValueTask DisposeAsync()
    {
        if (_gone) return;
        try
        {
            await _dom0.TryRunAsync($"xl destroy {Name}");
        }
        catch (LabException)
        {
            // The whole machine is gone, and the guest with it.
        }
        Leave();
    }

    /// <summary>A bash command that writes xl's configuration of the guest to /run/NAME.cfg.</summary>
    internal static string WriteConfiguration(string name, IReadOnlyList<string> bdfs, GuestOptions options)
    {
        var devices = string.Join(", ", bdfs.Select(bdf => options.DeviceOptions.Length == 0 ? $"\"{bdf}\"" : $"\"{bdf},{options.DeviceOptions}\""));
        return $"""
            cat > /run/{name}.cfg << 'END'
            type = "pv"
            name = "{name}"
            kernel = "{LabImages.GuestKernel}"
            ramdisk = "/lab/guest.initrd"
            memory = {options.MemoryMiB}
            vcpus = 1
            extra = "console=hvc0 loglevel=7 iommu=soft swiotlb=8192 sysrq_always_enabled{(options.Interactive ? " lab.interactive" : "")}{(options.LoadPcifront ? "" : " lab.no-pcifront")}"
            pci = [{devices}]
            on_crash = "{options.OnCrash}"
            {options.Configuration}
            END
            """;
    }

    internal async Task WaitUntilConnectedAsync()
    {
        await Console.Agent.ReadyAsync(_options.Patience);
        if (!_options.AwaitDevices || !_options.LoadPcifront || Bdfs.Count == 0) return;
        await _dom0.WaitUntilAsync($"guest {Name}'s backend to be connected (state 4)",
            $"[ \"$(xenstore-read {BackendPath}/state)\" = 4 ]", _options.Patience);
        await RunAsync($"""
            for try in $(seq 100); do
                [ $(ls /sys/bus/pci/devices | wc -l) -ge {Bdfs.Count} ] && exit 0
                sleep 0.2
            done
            echo "{Bdfs.Count} devices were given, the guest sees:"; ls /sys/bus/pci/devices; dmesg | tail -n 20; exit 1
            """);
    }

    private void Leave()
    {
        _gone = true;
        _dom0.Leave(this);
    }
}
