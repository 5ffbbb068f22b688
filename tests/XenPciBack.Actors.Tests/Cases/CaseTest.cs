using System.Collections.Concurrent;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Actors.Tests.Cases;

/// <summary>
/// The numbered cases that describe xen-pciback from outside: by the guest's page, the toolstack's directories and the registers of
/// the hardware. Where src/DEVIATIONS.md has us do otherwise, a case says so and asks for ours.
/// </summary>
public abstract class CaseTest(string? akka = null) : BackendTest(akka)
{
    protected static readonly HostBdf Spare = HostBdf.Parse("0000:06:00.0");

    /// <summary>With a change of devices that waits for the frontend however long it takes.</summary>
    protected static BackendSettings PatientSettings => Settings with { HotPlugPatience = Patience };

    /// <summary>What the guest reads from a register of its first device.</summary>
    protected static Task<uint> ReadRegisterAsync(SimulatedGuest guest, int offset, int size) => ReadConfigAsync(guest, 0, offset, size);

    /// <returns>The error the guest gets.</returns>
    protected static async Task<int> WriteRegisterAsync(SimulatedGuest guest, int offset, int size, uint value) =>
        (await guest.Frontend.WriteConfigAsync(0, 0, 0, offset, size, value)).Error;

    protected async Task<SimulatedGuest> PermissiveGuestAsync(HostBdf device)
    {
        var guest = await Xen.CreateGuestAsync("permissive", [device], deviceOptions: PciDeviceOptions.Permissive);
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        return guest;
    }

    /// <summary>A guest whose frontend does nothing by itself; the backend has its devices and waits.</summary>
    protected async Task<SimulatedGuest> WaitingGuestAsync(params HostBdf[] devices)
    {
        var guest = await Xen.CreateGuestAsync("by-hand", devices, new FrontendOptions { IsSilent = true });
        await EventuallyAsync("3", () => ReadAsync(guest, "state"));
        return guest;
    }

    /// <summary>A guest whose frontend does nothing by itself and is connected: no request was ever made.</summary>
    protected async Task<SimulatedGuest> ConnectedByHandAsync(params HostBdf[] devices)
    {
        var guest = await WaitingGuestAsync(devices);
        await PublishAsync(guest);
        await EventuallyAsync("4", () => ReadAsync(guest, "state"));
        await guest.Frontend.WriteStateAsync(4);
        return guest;
    }

    /// <summary>Does for a frontend what pcifront does once it has its page and port, up to Initialised.</summary>
    /// <param name="grant">Published instead of a grant of the frontend's page.</param>
    /// <param name="magic">null: none.</param>
    protected async Task PublishAsync(SimulatedGuest guest, string? grant = null, string? magic = "7")
    {
        var directory = SimulatedToolstack.FrontendOf(guest.Id);
        grant ??= $"{Xen.Grants.Grant(guest.Id, guest.Frontend.Page)}";
        await Store.TransactAsync(async tx =>
        {
            await Store.WriteAsync(directory / "pci-op-ref", grant, tx);
            await Store.WriteAsync(directory / "event-channel", $"{guest.Frontend.Port.Number}", tx);
            if (magic is not null) await Store.WriteAsync(directory / "magic", magic, tx);
        });
        await guest.Frontend.WriteStateAsync(3);
    }

    /// <summary>A device with as many MSI-X vectors as one request can ask for.</summary>
    protected static PciFunctionDescription WithManyVectors(HostBdf bdf) =>
        new PciFunctionDescription(bdf, vendor: 0x1234, device: 0x0080, classCode: 0xFF0000)
            .MemoryBar(0, 16 << 10)
            .Msix(0x40, entries: 128, bar: 0, tableOffset: 0, pendingOffset: 0x2000);

    /// <summary>The changes in a backend directory from now on, in their order: <c>state=3</c>.</summary>
    protected IReadOnlyCollection<string> RecordBackend(DomainId guest)
    {
        var changes = new ConcurrentQueue<string>();
        var directory = $"{SimulatedToolstack.BackendOf(guest)}/";
        Xen.XenStored.Changed += (path, value) =>
        {
            if (path.Text.StartsWith(directory, StringComparison.Ordinal)) changes.Enqueue($"{path.Text[directory.Length..]}={value}");
        };
        return changes;
    }

    /// <summary>Reads of one register that do not come back until they are let go.</summary>
    protected sealed class HeldReads : IDisposable
    {
        private readonly ManualResetEventSlim _letGo = new();
        private volatile bool _isBusy;

        public HeldReads(Hooks hooks, int register) => hooks.Pci.Reading = offset =>
        {
            if (offset != register) return null;
            _isBusy = true;
            _letGo.Wait(Patience);
            return null;
        };

        public Task WaitUntilBusyAsync() => EventuallyAsync(true, () => _isBusy);

        public void LetGo() => _letGo.Set();

        // The event stays: a reader may still be waking up from it.
        public void Dispose() => LetGo();
    }
}
