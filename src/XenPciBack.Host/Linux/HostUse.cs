using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>
/// What the host itself does with a device, so that taking it away would be a mistake: mounted file systems and swap on disks behind it,
/// through device mapper and RAID as well, the default route through its network interfaces, through bridges and bonds as well, the screen
/// the host has booted on. For a bridge that is what is behind all devices below it.
/// </summary>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
public sealed class HostUse(string root = "/")
{
    // proc(5): the fields of mountinfo, counted from 0; after a field "-" come the type and the source.
    private const int Device = 2, MountPoint = 4, SourceAfterDash = 2;

    private readonly string _root = root.TrimEnd('/');

    /// <summary>A sentence for each use; empty if the host would not miss the device.</summary>
    public IReadOnlyList<string> Of(HostBdf bdf)
    {
        var directory = RealPath($"{_root}/sys/bus/pci/devices/{bdf}");
        if (directory is null) return [];
        return [.. DiskUses(directory), .. NetworkUses(directory), .. ScreenUse(directory)];
    }

    private IEnumerable<string> DiskUses(string directory)
    {
        var disks = WithThoseOnTop(Classes("block").Where(disk => IsBelow(disk.RealPath, directory)).Select(disk => disk.Name).ToHashSet());
        if (disks.Count == 0) yield break;
        var byNumber = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var disk in disks) byNumber[ReadLine($"{_root}/sys/class/block/{disk}/dev")] = disk;
        foreach (var line in ReadLines("/proc/self/mountinfo"))
        {
            var fields = line.Split(' ');
            var dash = Array.IndexOf(fields, "-");
            if (fields.Length <= MountPoint || dash < 0 || dash + SourceAfterDash >= fields.Length) continue;
            // A file system over several disks has a number of its own, but names one of them.
            var disk = byNumber.GetValueOrDefault(fields[Device]) ?? (NameOf(fields[dash + SourceAfterDash]) is { } source && disks.Contains(source) ? source : null);
            if (disk is not null) yield return $"{fields[MountPoint]} is mounted from {disk}";
        }
        foreach (var line in ReadLines("/proc/swaps").Skip(1))
            if (NameOf(line.Split(' ', '\t')[0]) is { } swap && disks.Contains(swap))
                yield return $"{swap} is swap space";
    }

    /// <summary>Adds what is made of these disks: volumes, arrays, and what is made of those.</summary>
    private HashSet<string> WithThoseOnTop(HashSet<string> disks)
    {
        var all = Classes("block").Select(disk => disk.Name).ToList();
        bool grown;
        do
        {
            grown = false;
            foreach (var disk in all)
                if (!disks.Contains(disk) && Names($"{_root}/sys/class/block/{disk}/slaves").Any(disks.Contains))
                    grown = disks.Add(disk);
        }
        while (grown);
        return disks;
    }

    private IEnumerable<string> NetworkUses(string directory)
    {
        var own = Classes("net").Where(card => IsBelow(card.RealPath, directory)).Select(card => card.Name).ToHashSet();
        if (own.Count == 0) yield break;
        foreach (var route in DefaultRoutes().Distinct())
            foreach (var card in WithThoseBelow(route))
                if (own.Contains(card))
                    yield return card == route ? $"the default route leads through {card}" : $"the default route leads through {route}, and that through {card}";
    }

    /// <summary>The interface itself, and those a bridge, a bond or a VLAN is made of.</summary>
    private IEnumerable<string> WithThoseBelow(string card)
    {
        var seen = new HashSet<string> { card };
        var waiting = new Queue<string>(seen);
        while (waiting.TryDequeue(out var next))
        {
            yield return next;
            const string lower = "lower_";
            foreach (var name in Names($"{_root}/sys/class/net/{next}"))
                if (name.StartsWith(lower, StringComparison.Ordinal) && seen.Add(name[lower.Length..]))
                    waiting.Enqueue(name[lower.Length..]);
        }
    }

    private IEnumerable<string> DefaultRoutes()
    {
        // Interface, destination, gateway, flags, three counts, mask; in hexadecimal.
        foreach (var line in ReadLines("/proc/net/route").Skip(1))
            if (line.Split('\t') is [var card, "00000000", _, _, _, _, _, "00000000", ..])
                yield return card.Trim();
        // Destination, its length, source, its length, next hop, four more, interface. What "unreachable" says goes through lo.
        foreach (var line in ReadLines("/proc/net/ipv6_route"))
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var destination, "00", .., var card] && destination.All(digit => digit == '0') && card != "lo")
                yield return card;
    }

    private static IEnumerable<string> ScreenUse(string directory)
    {
        if (File.Exists($"{directory}/boot_vga") && ReadLine($"{directory}/boot_vga") == "1") yield return "the host has booted on its screen";
    }

    private IEnumerable<(string Name, string RealPath)> Classes(string name)
    {
        var directory = $"{_root}/sys/class/{name}";
        foreach (var entry in Names(directory))
            if (RealPath($"{directory}/{entry}") is { } path)
                yield return (entry, path);
    }

    /// <summary>The block device behind /dev/mapper/x and the like, by its name in sysfs.</summary>
    private string? NameOf(string path)
    {
        if (!path.StartsWith("/dev/", StringComparison.Ordinal)) return null;
        return Path.GetFileName(RealPath(_root + path) ?? path);
    }

    private static bool IsBelow(string path, string directory) => path.StartsWith(directory + "/", StringComparison.Ordinal);

    private static string? RealPath(string path)
    {
        var info = new FileInfo(path);
        if (info.LinkTarget is null) return Path.Exists(path) ? path : null;
        return info.ResolveLinkTarget(returnFinalTarget: true) is { } target && Path.Exists(target.FullName) ? target.FullName : null;
    }

    private static IEnumerable<string> Names(string directory) =>
        Directory.Exists(directory) ? Directory.EnumerateFileSystemEntries(directory).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal) : [];

    private string[] ReadLines(string path) => File.Exists(_root + path) ? File.ReadAllLines(_root + path) : [];

    private static string ReadLine(string path) => File.Exists(path) ? File.ReadAllText(path).Trim() : "";
}
