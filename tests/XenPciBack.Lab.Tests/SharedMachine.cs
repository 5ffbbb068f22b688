using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests;

/// <summary>A moment of the shared machine that scenarios begin at. Each is reached from the one before it.</summary>
internal enum Moment
{
    /// <summary>dom0 has booted, and nothing else has happened.</summary>
    Booted,

    /// <summary>The devices are assignable; dom0 has <see cref="SharedMachine.Address"/> on their network.</summary>
    Assignable,

    /// <summary>The daemon serves.</summary>
    Serving,

    /// <summary>A guest with <see cref="SharedMachine.Card"/> is connected; the card's driver is not loaded.</summary>
    ServingCard,
}

/// <summary>
/// One booted machine of a release, with all devices that any scenario needs. It boots once; after that each scenario
/// begins at a snapshot, so that it finds everything as if it were the first, and need not clean up.
/// </summary>
internal sealed class SharedMachine : IAsyncDisposable
{
    /// <summary>dom0's address on the network that joins the network cards, and a guest's.</summary>
    public const string Address = "10.0.0.1", GuestAddress = "10.0.0.2";

    /// <summary>The guest of <see cref="Moment.ServingCard"/>.</summary>
    public const string CardGuest = "pv1";

    private const string Generator = "virtio-rng-pci:disable-legacy=on", Reporting = $"{Generator}:aer=on";

    /// <summary>In slots 0x10, 0x11, ...: every fourth one has the same interrupt line.</summary>
    private static readonly string[] Specifications =
    [
        "e1000e", "rtl8139", "pvscsi", Generator, "rtl8139", Generator, Generator, "edu", "rtl8139", "e1000e:root-port",
        $"{Reporting}:root-port", $"{Reporting}:root-port", $"{Reporting}:root-port", $"{Reporting}:root-port",
        $"{Reporting}:multifunction=on:root-port", $"{Reporting}:same-port",
    ];

    private readonly Dictionary<Moment, MachineSnapshot> _snapshots = [];

    private SharedMachine(XenMachine machine) => Machine = machine;

    public XenMachine Machine { get; }

    public DomainZero DomainZero => Machine.DomainZero;

    /// <summary>A network card with MSI-X, and one without message interrupts on a line of its own.</summary>
    public QemuDevice Card => Machine.Devices[0];

    /// <inheritdoc cref="Card"/>
    public QemuDevice LineCard => Machine.Devices[1];

    /// <summary>A SCSI adapter with MSI alone.</summary>
    public QemuDevice ScsiAdapter => Machine.Devices[2];

    /// <summary>Three devices that interrupt for each portion of random bytes.</summary>
    public QemuDevice[] Generators => [Machine.Devices[3], Machine.Devices[5], Machine.Devices[6]];

    /// <summary>QEMU's device for teaching.</summary>
    public QemuDevice Edu => Machine.Devices[7];

    /// <summary>
    /// Two network cards without message interrupts on the line of <see cref="Card"/>; the second one is dom0's.
    /// </summary>
    public QemuDevice SharingCard => Machine.Devices[4];

    /// <inheritdoc cref="SharingCard"/>
    public QemuDevice DomainZeroCard => Machine.Devices[8];

    /// <summary>A network card behind a root port.</summary>
    public QemuDevice PortCard => Machine.Devices[9];

    /// <summary>Four generators that report errors, behind a root port each.</summary>
    public QemuDevice[] Reporters => [.. Machine.Devices.Skip(10).Take(4)];

    /// <summary>Two more, behind the same root port.</summary>
    public QemuDevice[] ReportersOfOnePort => [.. Machine.Devices.Skip(14)];

    public static async Task<SharedMachine> BootAsync(Release release)
    {
        var daemon = await Published.DaemonAsync(TextWriter.Null);
        var mounts = new Dictionary<string, string> { [DomainZero.DaemonDirectory] = daemon };
        var options = new MachineOptions { Mounts = mounts };
        var machine = new SharedMachine(await XenMachine.BootAsync(release, Specifications, options));
        machine._snapshots[Moment.Booted] = await machine.Machine.SaveAsync($"{Moment.Booted}");
        return machine;
    }

    /// <summary>Sets the machine to a moment; what is there of an earlier scenario is gone.</summary>
    public async Task GoToAsync(Moment moment)
    {
        if (_snapshots.TryGetValue(moment, out var snapshot))
        {
            await Machine.RestoreAsync(snapshot);
            return;
        }
        await GoToAsync(moment - 1);
        await ReachAsync(moment);
        _snapshots[moment] = await Machine.SaveAsync($"{moment}");
    }

    /// <summary>Stops QEMU, so that another machine has the processors. The snapshots stay.</summary>
    public Task SwitchOffAsync() => Machine.SwitchOffAsync();

    public ValueTask DisposeAsync() => Machine.DisposeAsync();

    /// <summary>From the moment before.</summary>
    private async Task ReachAsync(Moment moment)
    {
        switch (moment)
        {
            case Moment.Assignable:
                var forGuests = Machine.Devices.Except([DomainZeroCard]);
                await DomainZero.MakeAssignableAsync(forGuests.Select(device => device.Bdf));
                await DomainZero.JoinNetworkAsync($"{Address}/24");
                break;
            case Moment.Serving:
                await DomainZero.StartDaemonAsync();
                break;
            case Moment.ServingCard:
                await DomainZero.CreateGuestAsync(CardGuest, [Card.Bdf]);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(moment), moment, "is the first one");
        }
    }
}
