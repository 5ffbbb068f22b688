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

    private readonly RunFolder _folder = new();
    private readonly List<IAsyncDisposable> _parts = [];
    private readonly MachineSocket _commands, _monitor, _terminal;
    private readonly List<MachineSocket> _consoles;

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
            await machine.StartAsync(images, options);
            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a command of QEMU's human monitor, such as <c>pcie_aer_inject_error dev0 0x4000</c>.</summary>
    public Task<string> MonitorAsync(string command) => _parts.OfType<QemuMonitor>().Single().RunAsync(command);

    /// <summary>A bash in dom0 for a person; the machine must have been booted with a terminal.</summary>
    public Task<Stream> OpenTerminalAsync() => _terminal.AcceptAsync();

    public async ValueTask DisposeAsync()
    {
        foreach (var part in Enumerable.Reverse(_parts)) await part.DisposeAsync();
        foreach (var socket in _consoles.Append(_commands).Append(_monitor).Append(_terminal)) socket.Dispose();
        _folder.Dispose();
    }

    private async Task StartAsync(LabImages images, MachineOptions options)
    {
        await Initramfs.WriteAsync(images, _folder["dom0.initrd"]);
        var arguments = await ArgumentsAsync(images, options);
        var qemu = Qemu.Start(arguments, _folder["qemu.log"]);
        _parts.Add(qemu);

        using var gaveUp = new CancellationTokenSource();
        var boot = ConnectAsync(gaveUp.Token);
        if (await Task.WhenAny(boot, qemu.Exited) != boot)
        {
            await gaveUp.CancelAsync();
            await boot.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw new LabException(SerialLog.Length == 0 ? $"QEMU did not start: {qemu.Errors}"
                : $"the machine went off while it booted. QEMU: {qemu.Errors}\nSerial log:\n{LabException.Tail(SerialLog)}");
        }
        try
        {
            await boot;
        }
        catch (LabException failure)
        {
            throw new LabException($"dom0 did not come up: {failure.Message}\nSerial log:\n{LabException.Tail(SerialLog)}", failure);
        }
    }

    private async Task ConnectAsync(CancellationToken cancellation)
    {
        _parts.Add(await QemuMonitor.OpenAsync(await _monitor.AcceptAsync(cancellation)));
        var commands = new CommandChannel(await _commands.AcceptAsync(cancellation), "dom0");
        _parts.Add(commands);
        await commands.ReadyAsync(BootTimeout);
        DomainZero = new DomainZero(commands, _consoles);
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
            "-kernel", images.Xen,
            "-append", "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M loglvl=warning guest_loglvl=warning",
            "-drive", $"file={images.RootDisk},format=raw,if=none,id=root,snapshot=on", "-device", "ide-hd,drive=root,bus=ide.0",
        ];

        var kernel = $"{images.Kernel} console=hvc0 loglevel=4 log_buf_len=4M lab.xenstored={(options.XenStored == XenStored.C ? "xenstored" : "oxenstored")}";
        foreach (var (index, (directory, folder)) in options.Mounts.Index())
        {
            var image = _folder[$"mount{index}.img"];
            await DiskImage.CreateAsync(folder, image, $"lab-mount{index}");
            arguments.AddRange(["-drive", $"file={image},format=raw,if=none,id=mount{index},snapshot=on",
                "-device", $"ide-hd,drive=mount{index},bus=ide.{index + 1}"]);
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
}
