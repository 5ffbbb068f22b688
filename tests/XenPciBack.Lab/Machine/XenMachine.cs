using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Machine;

/// <summary>
/// A PC under QEMU that runs Xen and a Debian dom0. It boots in about half a minute and is switched off on dispose;
/// what was written to its disk is gone then.
/// </summary>
public sealed class XenMachine : IAsyncDisposable
{
    /// <summary>Emulated, and on a busy machine: five minutes is ten times what a boot takes.</summary>
    private static readonly TimeSpan BootTimeout = TimeSpan.FromMinutes(5);

    /// <summary>Where dom0's own network card is, if there is one.</summary>
    internal const string NetworkCard = "0000:00:04.0";

    /// <summary>How many guests can run at once: each needs a virtio-serial port for its console.</summary>
    private const int GuestConsoles = 6;

    /// <summary>
    /// More scripts than a session runs. An agent that comes out of a snapshot may still be removing the files of the
    /// script before, so the numbers of an earlier session's scripts are not used again.
    /// </summary>
    private const int ScriptsOfSession = 1_000_000;

    private static readonly TimeSpan QuitTimeout = TimeSpan.FromSeconds(20);

    private readonly RunFolder _folder = new();
    private readonly MachineSocket _commands, _monitor, _terminal;
    private readonly IReadOnlyList<MachineSocket> _consoles;
    private IReadOnlyList<string> _arguments = [];
    private int _sessions;
    private Session? _session;

    private XenMachine(Release release, IReadOnlyList<QemuDevice> devices)
    {
        Release = release;
        Devices = devices;
        _commands = new MachineSocket("commands", _folder.Path);
        _monitor = new MachineSocket("monitor", _folder.Path);
        _terminal = new MachineSocket("terminal", _folder.Path);
        _consoles = [.. Enumerable.Range(0, GuestConsoles).Select(index => new MachineSocket($"guest{index}", _folder.Path))];
    }

    public Release Release { get; }

    /// <summary>The devices asked for, in that order, with the addresses they got.</summary>
    public IReadOnlyList<QemuDevice> Devices { get; }

    /// <summary>dom0 of this moment; <see cref="RestoreAsync"/> puts another one in its place.</summary>
    public DomainZero DomainZero { get; private set; } = null!;

    /// <summary>What Xen and dom0's kernel wrote to the serial port so far.</summary>
    public string SerialLog => File.Exists(_folder["serial.log"]) ? File.ReadAllText(_folder["serial.log"]) : "";

    /// <param name="devices">QEMU devices to pass through, as <see cref="QemuDevice"/> describes them.</param>
    public static async Task<XenMachine> BootAsync(Release release, IEnumerable<string> devices, MachineOptions? options = null)
    {
        options ??= new MachineOptions();
        var images = await LabImages.EnsureAsync(release, options.Progress);
        var machine = new XenMachine(release, QemuDevice.Place(devices));
        try
        {
            options.Progress.WriteLine($"booting Xen {release.Xen} on Debian {release} with {string.Join(", ", machine.Devices.Select(device => $"{device.Model} at {device.Bdf}"))}");
            await machine.BootAsync(images, options);
            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a command of QEMU's human monitor, such as <c>pcie_aer_inject_error dev0 0x4000</c>.</summary>
    public Task<string> MonitorAsync(string command) =>
        _session?.Monitor.RunAsync(command) ?? throw new LabException($"QEMU monitor: {command}: QEMU does not run");

    /// <summary>
    /// Keeps this moment of the machine: memory, processors, devices and disks, with the guests that run. No script may
    /// be under way. A snapshot lasts as long as its machine.
    /// </summary>
    public async Task<MachineSnapshot> SaveAsync(string name)
    {
        var registers = await DomainZero.RunAsync($"""
            for bdf in {string.Join(' ', WithoutState.Select(device => device.Bdf))}; do
                echo setpci -s $bdf 10.l=$(setpci -s $bdf 10.l) 3c.b=$(setpci -s $bdf 3c.b) 04.w=$(setpci -s $bdf 04.w)
            done
            """);
        await RequireSilenceAsync($"savevm {name}");
        return new MachineSnapshot(name, DomainZero.State, registers);
    }

    /// <summary>
    /// Sets the machine to a moment that was kept: what has happened since has not, and dom0's clock is what it was. It
    /// takes a QEMU of its own: in the same one the processors' time stamp counter never goes back, while the timers
    /// do, and Xen lets all clocks run at half their speed until the two are level again.
    /// </summary>
    public async Task RestoreAsync(MachineSnapshot snapshot)
    {
        await SwitchOffAsync();
        var session = await StartSessionAsync();
        await RequireSilenceAsync($"loadvm {snapshot.Name}");
        await RequireSilenceAsync("cont");
        DomainZero = new DomainZero(session.Commands, session.Consoles, snapshot.DomainZero);
        await DomainZero.RunAsync(snapshot.Registers);
    }

    /// <summary>Ends QEMU, if it runs. The snapshots stay.</summary>
    public async Task SwitchOffAsync()
    {
        if (_session is not { } session) return;
        try
        {
            // In good order: the disks have the snapshots.
            await session.Monitor.RunAsync("quit");
        }
        catch (Exception gone) when (gone is LabException or IOException)
        {
            // QEMU has ended before it answered, or long ago.
        }
        await ((Task)session.Qemu.Exited.WaitAsync(QuitTimeout)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _session = null;
        await session.DisposeAsync();
    }

    /// <summary>A bash in dom0 for a person; the machine must have been booted with a terminal.</summary>
    public Task<Stream> OpenTerminalAsync() => _terminal.AcceptAsync();

    public async ValueTask DisposeAsync()
    {
        if (_session is { } session) await session.DisposeAsync();
        foreach (var socket in _consoles.Append(_commands).Append(_monitor).Append(_terminal)) socket.Dispose();
        _folder.Dispose();
    }

    /// <summary>Devices whose state QEMU does not put into a snapshot: they come out of it as after a reset.</summary>
    private IEnumerable<QemuDevice> WithoutState => Devices.Where(device => device.Model == "edu");

    private async Task BootAsync(LabImages images, MachineOptions options)
    {
        await Initramfs.WriteAsync(images, _folder["dom0.initrd"]);
        _arguments = await ArgumentsAsync(images, options);
        var session = await StartSessionAsync();
        await RequireSilenceAsync("cont");
        var boot = session.Commands.ReadyAsync(BootTimeout);
        if (await Task.WhenAny(boot, session.Qemu.Exited) != boot)
        {
            var what = $"the machine went off while it booted. QEMU: {session.Qemu.Errors}";
            throw new LabException($"{what}\nSerial log:\n{LabException.Tail(SerialLog)}");
        }
        try
        {
            await boot;
        }
        catch (LabException failure)
        {
            var what = $"dom0 did not come up: {failure.Message}";
            throw new LabException($"{what}\nSerial log:\n{LabException.Tail(SerialLog)}", failure);
        }
        DomainZero = new DomainZero(session.Commands, session.Consoles);
    }

    /// <summary>Starts QEMU and the lines to it. The machine stands still.</summary>
    private async Task<Session> StartSessionAsync()
    {
        var qemu = Qemu.Start(_arguments, _folder["qemu.log"]);
        try
        {
            using var gaveUp = new CancellationTokenSource();
            var connecting = ConnectAsync(qemu, gaveUp.Token);
            if (await Task.WhenAny(connecting, qemu.Exited) == connecting) return _session = await connecting;
            await gaveUp.CancelAsync();
            await ((Task)connecting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw new LabException($"QEMU did not start: {qemu.Errors}");
        }
        catch
        {
            await qemu.DisposeAsync();
            throw;
        }
    }

    private async Task<Session> ConnectAsync(Qemu qemu, CancellationToken cancellation)
    {
        var monitor = await QemuMonitor.OpenAsync(await _monitor.AcceptAsync(cancellation));
        var lastId = _sessions++ * ScriptsOfSession;
        var commands = new CommandChannel(await _commands.AcceptAsync(cancellation), "dom0", lastId);
        var consoles = new List<GuestConsole>();
        foreach (var socket in _consoles)
        {
            var agent = new CommandChannel(await socket.AcceptAsync(cancellation), $"console {socket.Name}", lastId);
            consoles.Add(new GuestConsole(socket.Name, agent));
        }
        // QEMU knows a little later that we have accepted. Before that a snapshot's dom0 would find its ports closed.
        while ((await monitor.RunAsync("info chardev")).Contains("disconnected", StringComparison.Ordinal))
            await Task.Delay(10, cancellation);
        return new Session(qemu, monitor, commands, consoles);
    }

    /// <summary>A monitor command that prints nothing unless it fails.</summary>
    private async Task RequireSilenceAsync(string command)
    {
        if (await MonitorAsync(command) is { Length: > 0 } complaint)
            throw new LabException($"QEMU monitor: {command}: {complaint.Trim()}");
    }

    /// <summary>QEMU's command line; every odd part has its comment.</summary>
    private async Task<IReadOnlyList<string>> ArgumentsAsync(LabImages images, MachineOptions options)
    {
        List<string> arguments =
        [
            "-machine", "q35",
            // With SMAP, QEMU's translator takes a false page fault at dom0's first return to ring 3. An Intel model makes
            // Xen look for VT-d, and without an IOMMU libxl refuses passthrough.
            "-cpu", "Skylake-Server,-smap,-smep,-pcid", "-device", "intel-iommu,intremap=on,caching-mode=off,aw-bits=48",
            "-accel", "tcg,thread=multi", "-smp", "2", "-m", "3072",
            "-display", "none", "-nodefaults", "-nic", "none", "-no-reboot", "-serial", $"file:{_folder["serial.log"]}",
            // When dom0 or Xen crashes, Xen reboots; -no-reboot makes that QEMU's end, which is noticed at once.
            // This CPU model needs page tables of its own for each ring (XPTI), and present ones do not. Switching them
            // costs the translator far more than a CPU: with it the machine boots in twice the time.
            "-kernel", images.Xen,
            "-append",
            "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M loglvl=warning guest_loglvl=warning xpti=no",
            "-drive", await DriveAsync("root", images.RootDisk), "-device", "ide-hd,drive=root,bus=ide.0",
            // Until the lines to it are connected.
            "-S",
        ];

        var kernel = $"{images.Kernel} console=hvc0 loglevel=4 log_buf_len=4M lab.xenstored={(options.XenStored == XenStored.C ? "xenstored" : "oxenstored")}";
        foreach (var (index, (directory, folder)) in options.Mounts.Index())
        {
            var image = _folder[$"mount{index}.img"];
            await DiskImage.CreateAsync(folder, image, $"lab-mount{index}");
            arguments.AddRange(["-drive", await DriveAsync($"mount{index}", image)]);
            arguments.AddRange(["-device", $"ide-hd,drive=mount{index},bus=ide.{index + 1}"]);
            kernel += $" lab.mount=lab-mount{index}:{directory}";
        }
        arguments.AddRange(["-chardev", _monitor.CharacterDevice, "-mon", $"chardev={_monitor.Name},mode=control"]);
        arguments.AddRange(["-device", "virtio-serial-pci,bus=pcie.0,addr=3"]);
        foreach (var port in _consoles.Prepend(_commands))
            arguments.AddRange(["-chardev", port.CharacterDevice, "-device", $"virtserialport,chardev={port.Name},name={port.Name}"]);
        if (options.Terminal is { } size)
        {
            kernel += $" lab.terminal={size.Replace(' ', 'x')}";
            arguments.AddRange(["-chardev", _terminal.CharacterDevice, "-device", $"virtconsole,chardev={_terminal.Name}"]);
        }

        // dom0's end of the network that joins the network cards given to guests, at the address of NetworkCard.
        if (Devices.Any(device => device.IsNetworkCard))
            arguments.AddRange(["-netdev", "hubport,id=dom0,hubid=0", "-device", "virtio-net-pci,netdev=dom0,bus=pcie.0,addr=4,romfile="]);

        arguments.AddRange(["-initrd", $"{kernel},{_folder["dom0.initrd"]}"]);
        return [.. arguments, .. Devices.SelectMany(device => device.Arguments)];
    }

    /// <summary>
    /// A -drive argument. What is written goes into a file of this run, which has the snapshots as well; the image
    /// stays as it is.
    /// </summary>
    private async Task<string> DriveAsync(string id, string image)
    {
        var written = _folder[$"{id}.qcow2"];
        await ChildProcess.RunAsync("qemu-img", ["create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", written]);
        return $"file={written},format=qcow2,if=none,id={id},cache=unsafe";
    }

    /// <summary>A QEMU that runs, and the lines to what runs in it.</summary>
    private sealed record Session(
        Qemu Qemu, QemuMonitor Monitor, CommandChannel Commands, IReadOnlyList<GuestConsole> Consoles)
        : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            foreach (var console in Consoles) await console.Agent.DisposeAsync();
            await Commands.DisposeAsync();
            await Monitor.DisposeAsync();
            await Qemu.DisposeAsync();
        }
    }
}
