using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.XenStore;

namespace XenPciBack.Backend.Guests;

/// <summary>A device of a guest, as the toolstack has written it down, whoever serves it.</summary>
/// <param name="GuestName">null if xenstore has none.</param>
/// <param name="Options">libxl's options of the device, such as <c>msitranslate=0,power_mgmt=0,permissive=1</c>; null if there are none.</param>
public sealed record GuestDevice(BackendDirectory Directory, string? GuestName, HostBdf Device, string? Options)
{
    public string Guest => GuestName is null ? $"{Directory.Guest}" : $"{GuestName} ({Directory.Guest})";
}

/// <summary>What xenstore says of all guests' devices.</summary>
public static class GuestDevices
{
    /// <summary>The connections below <c>backend/pci</c>.</summary>
    internal static async Task<IReadOnlyList<BackendDirectory>> ListDirectoriesAsync(XenStoreClient client, DomainId backend)
    {
        var root = BackendDirectory.RootOf(backend);
        var found = new List<BackendDirectory>();
        foreach (var guestName in await client.ListAsync(root).ConfigureAwait(false) ?? [])
        {
            if (!DomainId.TryParse(guestName, out var guest)) continue;
            foreach (var deviceName in await client.ListAsync(root / guestName).ConfigureAwait(false) ?? [])
                if (int.TryParse(deviceName, NumberStyles.None, CultureInfo.InvariantCulture, out var deviceId))
                    found.Add(new BackendDirectory(backend, guest, deviceId));
        }
        return found;
    }

    /// <summary>By guest, and for each guest in the toolstack's order.</summary>
    public static async Task<IReadOnlyList<GuestDevice>> ListAsync(XenStoreClient client, DomainId backend)
    {
        var found = new List<GuestDevice>();
        foreach (var directory in await ListDirectoriesAsync(client, backend).ConfigureAwait(false))
            found.AddRange(await client.TransactAsync(async tx =>
            {
                Task<string?> ReadAsync(string name) => client.ReadAsync(directory.Path / name, tx);
                var name = await ReadAsync("domain").ConfigureAwait(false);
                var devices = new List<GuestDevice>();
                for (var index = 0; await ReadAsync($"dev-{index}").ConfigureAwait(false) is { } text; index++)
                    if (HostBdf.TryParse(text, out var device))
                        devices.Add(new GuestDevice(directory, name, device, await ReadAsync($"opts-{index}").ConfigureAwait(false)));
                return devices;
            }).ConfigureAwait(false));
        return found;
    }
}
