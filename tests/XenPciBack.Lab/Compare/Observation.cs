using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Compare;

/// <summary>Creates a guest with devices under one backend, looks at everything, and destroys it.</summary>
internal sealed partial class Observation(
    DomainZero dom0, IReadOnlyList<QemuDevice> given, bool quick, TextWriter progress)
{
    public async Task<Snapshot> RunAsync(BackendKind backend)
    {
        progress.WriteLine($"creating a guest under the {(backend == BackendKind.Kernel ? "kernel" : "daemon")} backend");
        await dom0.UseAsync(backend);
        var before = await HostConfigsAsync();
        var guest = await dom0.CreateGuestAsync("pv1", [.. given.Select(device => device.Bdf)]);
        await using var _ = guest;
        await RequireServedByAsync(backend, guest);

        var listings = (Backend: await ListAsync(guest.BackendPath), Frontend: await ListAsync(guest.FrontendPath));
        var devices = new List<DeviceSnapshot>();
        foreach (var (index, device) in given.Index())
            devices.Add(await DeviceAsync(guest, device, GuestBdf(listings.Backend, index), before[index]));

        var lost = int.Parse(await guest.RunAsync("dmesg | grep -c 'pciback not responding' || true"), CultureInfo.InvariantCulture);
        await guest.DestroyAsync();
        var after = await HostConfigsAsync();
        return new Snapshot
        {
            BackendNodes = XenStoreTree.Parse(listings.Backend, guest.DomainId),
            FrontendNodes = XenStoreTree.Parse(listings.Frontend, guest.DomainId),
            Devices = [.. devices.Select((device, index) => device with { HostConfigAfterDestroy = after[index] })],
            LostAccesses = lost,
            Leftovers = await dom0.RunAsync("xenstore-ls -f /local/domain/0/backend/pci 2> /dev/null || true"),
        };
    }

    /// <summary>A comparison of the kernel's backend with itself must not pass for one with the daemon.</summary>
    private Task<string> RequireServedByAsync(BackendKind backend, Guest guest) => dom0.RunAsync(
        $"{(backend == BackendKind.Kernel ? "" : "! ")}readlink /sys/bus/xen-backend/devices/pci-{guest.DomainId}-0/driver");

    private async Task<DeviceSnapshot> DeviceAsync(Guest guest, QemuDevice device, string guestBdf, byte[] hostConfigBefore)
    {
        var config = await GuestConfigAsync(guest, guestBdf);
        var lspci = await guest.RunAsync($"lspci -vvv -xxxx -s {guestBdf} 2> /dev/null");
        return new DeviceSnapshot
        {
            Model = device.Model,
            HostBdf = device.Bdf,
            GuestBdf = guestBdf,
            Config = config,
            Lspci = lspci,
            Sweep = quick ? [] : await SweepAsync(guest, device, guestBdf),
            ConfigAfterSweep = await GuestConfigAsync(guest, guestBdf),
            HostConfigBefore = hostConfigBefore,
            HostConfigAfterSweep = await HostConfigAsync(device),
            HostConfigAfterDestroy = [],
        };
    }

    private async Task<IReadOnlyList<ConfigAccess>> SweepAsync(Guest guest, QemuDevice device, string guestBdf)
    {
        var clock = Stopwatch.StartNew();
        var sweep = await ConfigSweep.RunAsync(guest, guestBdf);
        progress.WriteLine($"  {device.Model}: {sweep.Count} reads and write/read-backs in {clock.Elapsed.TotalSeconds:0} s");
        return sweep;
    }

    private Task<string> ListAsync(string path) => dom0.RunAsync($"xenstore-ls -fp {path}");

    private async Task<byte[][]> HostConfigsAsync()
    {
        var configs = new List<byte[]>();
        foreach (var device in given) configs.Add(await HostConfigAsync(device));
        return [.. configs];
    }

    private Task<byte[]> HostConfigAsync(QemuDevice device) =>
        dom0.ReadFileAsync($"/sys/bus/pci/devices/{device.Bdf}/config");

    private static async Task<byte[]> GuestConfigAsync(Guest guest, string bdf) =>
        Convert.FromBase64String((await guest.RunAsync($"base64 /sys/bus/pci/devices/{bdf}/config")).Replace("\n", ""));

    /// <summary>The backend publishes where the guest sees device N: vdev-N = "0000:00:01.00".</summary>
    private static string GuestBdf(string backendListing, int index)
    {
        var vdev = VirtualAddress().Matches(backendListing).FirstOrDefault(match => match.Groups["index"].Value == $"{index}")
            ?? throw new LabException($"the backend published no vdev-{index}:\n{backendListing}");
        return $"{vdev.Groups["slot"].Value}.{vdev.Groups["function"].Value.TrimStart('0').PadLeft(1, '0')}";
    }

    [GeneratedRegex("""/vdev-(?<index>\d+) = "(?<slot>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2})\.(?<function>[0-9a-f]+)" """, RegexOptions.CultureInvariant)]
    private static partial Regex VirtualAddress();
}
