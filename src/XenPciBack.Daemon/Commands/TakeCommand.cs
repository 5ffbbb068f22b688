using System.CommandLine;
using XenPciBack.Backend.Guests;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Host;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback take</c>: a guest that the kernel's backend serves is served by the daemon from now on.</summary>
internal static class TakeCommand
{
    public static Command Create()
    {
        var guest = new Argument<string>("GUEST") { Description = "The guest, by domain id or name" };
        var config = ControlOptions.Config();
        var command = new Command("take", """
            Serve a guest that the kernel's xen-pciback serves. The kernel resets a device when it lets go of it, so the guest
            loses its devices (xl pci-detach) and gets them anew from the daemon (xl pci-attach); it runs on meanwhile.
            """) { guest, config };
        command.SetAction((parse, stop) => TakeAsync(SettingsReader.Load(parse.GetValue(config)), parse.GetValue(guest)!, stop));
        return command;
    }

    private static async Task<int> TakeAsync(DaemonSettings settings, string guest, CancellationToken stop)
    {
        using (var nobodys = new Turn(Path.GetDirectoryName(settings.ControlSocket)!).TryTake())
            if (nobodys is not null) return ExitCode.Refuse("no daemon serves guests on this host, so nobody would give them their devices again; start it first: xenpciback run", ExitCode.Unavailable);

        await using var store = await XenStoreClient.ConnectAsync(settings.XenStoreEndpoint, settings.XenStore, stop);
        return await TakeAsync(guest, store, settings.Backend.Domain, new SysfsPciHost(), new XlToolstack());
    }

    /// <param name="guest">By domain id or name.</param>
    /// <returns>An exit code; why it is no success has been said.</returns>
    internal static async Task<int> TakeAsync(string guest, XenStoreClient store, DomainId backend, IPciHost host, IToolstack toolstack)
    {
        var assigned = await GuestDevices.ListAsync(store, backend);
        // A number is a domain id first, as with xl; a guest may be called "2".
        var devices = assigned.Where(device => guest == $"{device.Directory.Guest}").ToList();
        if (devices.Count == 0) devices = [.. assigned.Where(device => guest == device.GuestName)];
        if (devices is not [var first, ..]) return ExitCode.Refuse($"guest '{guest}' has no devices; expected a domain id or a name", ExitCode.Failure);
        if (!host.KernelBackendServes(first.Directory.Guest, first.Directory.DeviceId))
            return ExitCode.Refuse($"guest {first.Guest} is not served by the kernel's backend", ExitCode.Failure);

        // All of them first: with the last one the connection to the kernel's backend ends.
        var (taken, exitCode) = (new List<GuestDevice>(), ExitCode.Success);
        foreach (var device in devices)
        {
            if (await toolstack.DetachAsync(device.Directory.Guest, device.Device) is { } fault)
            {
                exitCode = ExitCode.Refuse($"guest {device.Guest} keeps {device.Device}, and stays with the kernel's backend: {fault}", ExitCode.Failure);
                break;
            }
            taken.Add(device);
        }
        // What was taken away before it went wrong comes back as well.
        var by = exitCode == ExitCode.Success ? "this daemon" : "the kernel's backend";
        foreach (var device in taken)
        {
            if (await toolstack.AttachAsync(device.Directory.Guest, device.Device, device.Options) is { } fault)
                exitCode = ExitCode.Refuse($"guest {device.Guest} does not get {device.Device} again: {fault}", ExitCode.Failure);
            else Console.WriteLine($"Guest {device.Guest} has {device.Device} from {by}.");
        }
        return exitCode;
    }
}
