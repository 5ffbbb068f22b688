using System.Text.Json;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Actors;

/// <summary>A device that no guest gets until an operator has looked at it.</summary>
/// <param name="Guest">Who had it when it was lost.</param>
/// <param name="Reason">What happened to it.</param>
public sealed record QuarantinedDevice(HostBdf Device, DomainId Guest, DateTimeOffset Since, string Reason);

/// <summary>The devices in quarantine, on record beyond the daemon's life and the host's. Blocks on the disk.</summary>
public sealed class Quarantine(IRecords records)
{
    private sealed record Entry(int Guest, DateTimeOffset Since, string Reason);

    public IReadOnlyList<QuarantinedDevice> Devices =>
        [.. records.Names.SelectMany(name => HostBdf.TryParse(name, out var device) && Find(device) is { } found ? [found] : Array.Empty<QuarantinedDevice>())];

    public QuarantinedDevice? Find(HostBdf device)
    {
        if (records.Read(device.ToString()) is not { } text) return null;
        try
        {
            var entry = JsonSerializer.Deserialize<Entry>(text)!;
            return new QuarantinedDevice(device, new DomainId(entry.Guest), entry.Since, entry.Reason);
        }
        catch (JsonException)
        {
            // Somebody meant to keep it from guests.
            return new QuarantinedDevice(device, DomainId.Zero, default, "its record cannot be read");
        }
    }

    public void Add(QuarantinedDevice lost) =>
        records.Write(lost.Device.ToString(), JsonSerializer.Serialize(new Entry(lost.Guest.Value, lost.Since, lost.Reason)));

    /// <returns>false if it was not in quarantine.</returns>
    public bool Clear(HostBdf device)
    {
        if (records.Read(device.ToString()) is null) return false;
        records.Remove(device.ToString());
        return true;
    }
}
