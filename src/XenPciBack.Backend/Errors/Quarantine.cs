using System.Collections.Concurrent;
using System.Text.Json;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Errors;

/// <summary>A device that no guest gets until an operator has looked at it.</summary>
/// <param name="Guest">Who had it when it was lost.</param>
/// <param name="Reason">What happened to it.</param>
public sealed record QuarantinedDevice(HostBdf Device, DomainId Guest, DateTimeOffset Since, string Reason);

/// <summary>
/// The devices in quarantine, on record beyond the daemon's life and the host's. Blocks on the disk, except for <see cref="Hold"/>.
/// A daemon has one of it: what waits for a slow disk is known to this one alone. Thread-safe.
/// </summary>
public sealed class Quarantine(IRecords records)
{
    // Not on record yet.
    private readonly ConcurrentDictionary<HostBdf, QuarantinedDevice> _held = new();
    private readonly TaskCompletionSource _complete = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _changes;

    private sealed record Entry(int Guest, DateTimeOffset Since, string Reason);

    /// <summary>Grows after each change that this process makes; whoever takes it before <see cref="Devices"/> need not read them again while it stays.</summary>
    public long Changes => Interlocked.Read(ref _changes);

    /// <summary>
    /// Done when every device is held that a daemon before this one, or an error while no daemon ran, has made unfit
    /// for guests. No device is given to a guest before.
    /// </summary>
    public Task WhenComplete => _complete.Task;

    // What is held first: it may be put on record between the two.
    public IReadOnlyList<QuarantinedDevice> Devices =>
        [.. _held.Keys.ToList().Union(records.Names.SelectMany(name => HostBdf.TryParse(name, out var device) ? [device] : Array.Empty<HostBdf>()))
            .Select(Find).OfType<QuarantinedDevice>().OrderBy(found => found.Device.ToString(), StringComparer.Ordinal)];

    public QuarantinedDevice? Find(HostBdf device)
    {
        if (_held.TryGetValue(device, out var held)) return held;
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

    /// <summary>See <see cref="WhenComplete"/>.</summary>
    public void SetComplete() => _complete.TrySetResult();

    /// <summary>No guest gets the device from now on, as long as this process lives.</summary>
    public void Hold(QuarantinedDevice lost)
    {
        _held[lost.Device] = lost;
        Interlocked.Increment(ref _changes);
    }

    /// <summary>Puts what is held on record, unless it has been cleared meanwhile.</summary>
    /// <exception cref="IOException">It cannot be written; the device is still held.</exception>
    public void Record(QuarantinedDevice lost)
    {
        if (!_held.ContainsKey(lost.Device)) return;
        records.Write(lost.Device.ToString(), JsonSerializer.Serialize(new Entry(lost.Guest.Value, lost.Since, lost.Reason)));
        if (!_held.TryRemove(lost.Device, out _)) Remove(lost.Device);
    }

    /// <returns>false if it was not in quarantine.</returns>
    public bool Clear(HostBdf device)
    {
        var wasHeld = _held.TryRemove(device, out _);
        if (wasHeld) Interlocked.Increment(ref _changes);
        if (records.Read(device.ToString()) is null) return wasHeld;
        Remove(device);
        return true;
    }

    private void Remove(HostBdf device)
    {
        records.Remove(device.ToString());
        Interlocked.Increment(ref _changes);
    }
}
