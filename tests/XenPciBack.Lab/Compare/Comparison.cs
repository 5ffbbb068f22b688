using System.Globalization;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Lab.Compare;

/// <summary>What two backends made of one thing that was looked at.</summary>
/// <param name="Subject">What was compared: "config dump", "read sweep".</param>
/// <param name="Agreement">How much was equal, for people: "4096 bytes identical".</param>
/// <param name="Differences">One line each; empty when all is equal.</param>
internal sealed record Finding(string Subject, string Agreement, IReadOnlyList<string> Differences);

/// <summary>The findings of one device, or of what belongs to no device.</summary>
internal sealed record Section(string Title, IReadOnlyList<Finding> Findings);

/// <summary>Compares what two backends showed. The names appear in the differences, as "kernel" and "daemon".</summary>
internal sealed class Comparison(string firstName, Snapshot first, string secondName, Snapshot second)
{
    /// <summary>The guest allocates these anew each time; that they differ says nothing about the backend.</summary>
    private static readonly string[] GuestsChoice = ["pci-op-ref", "event-channel"];

    public IReadOnlyList<Section> Sections() =>
    [
        .. first.Devices.Zip(second.Devices, Device),
        new Section("guest",
        [
            Nodes("backend directory", firstName, first.BackendNodes, secondName, second.BackendNodes),
            Nodes("frontend directory", firstName, first.FrontendNodes, secondName, second.FrontendNodes),
            Lost(firstName, first),
            Lost(secondName, second),
            Leftovers(firstName, first),
            Leftovers(secondName, second),
        ]),
    ];

    private Section Device(DeviceSnapshot one, DeviceSnapshot two)
    {
        var registers = new RegisterNames(one.HostConfigBefore);
        var findings = new List<Finding>
        {
            Text("guest address", one.GuestBdf, two.GuestBdf),
            Bytes("config dump", registers, firstName, one.Config, secondName, two.Config),
            Text("lspci -vvv -xxxx", one.Lspci, two.Lspci),
        };
        if (one.Sweep.Count > 0)
        {
            findings.Add(Accesses("read sweep", "reads", registers, one.Sweep, two.Sweep, access => access.Written is null));
            findings.Add(Accesses("write sweep", "write/read-backs", registers, one.Sweep, two.Sweep, access => access.Written is not null));
            findings.Add(Bytes("config dump after the sweep", registers, firstName, one.ConfigAfterSweep, secondName, two.ConfigAfterSweep));
        }
        findings.Add(Bytes("dom0's view before the guest", registers, firstName, one.HostConfigBefore, secondName, two.HostConfigBefore));
        findings.Add(Bytes(one.Sweep.Count > 0 ? "dom0's view after the sweep" : "dom0's view while the guest runs",
            registers, firstName, one.HostConfigAfterSweep, secondName, two.HostConfigAfterSweep));
        findings.Add(Restored(registers, firstName, one));
        findings.Add(Restored(registers, secondName, two));
        return new Section($"{one.Model}, {one.HostBdf} in dom0, {one.GuestBdf} in the guest", findings);
    }

    private static Finding Restored(RegisterNames registers, string backend, DeviceSnapshot device) =>
        Bytes($"after xl destroy as before ({backend})", registers, "before", device.HostConfigBefore, "after", device.HostConfigAfterDestroy);

    private static Finding Lost(string backend, Snapshot snapshot) => new($"accesses in time ({backend})", "none took 2 s",
        snapshot.LostAccesses == 0 ? [] : [$"the frontend gave up {snapshot.LostAccesses} accesses after 2 s: is the machine too busy?"]);

    private static Finding Leftovers(string backend, Snapshot snapshot)
    {
        var nodes = snapshot.Leftovers.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return new Finding($"after xl destroy ({backend})", "nothing left under backend/pci", [.. nodes.Select(node => $"left: {node}")]);
    }

    public static Finding Bytes(string subject, RegisterNames registers, string oneName, byte[] one, string twoName, byte[] two)
    {
        var differences = new List<string>();
        if (one.Length != two.Length) differences.Add($"length: {oneName} {one.Length} bytes, {twoName} {two.Length} bytes");
        for (var offset = 0; offset < Math.Min(one.Length, two.Length); offset++)
            if (one[offset] != two[offset])
                differences.Add($"{Place(offset, registers)}: {oneName} {one[offset]:x2}, {twoName} {two[offset]:x2}");
        return new Finding(subject, $"{one.Zip(two).Count(pair => pair.First == pair.Second)} bytes identical", differences);
    }

    private Finding Accesses(
        string subject, string noun, RegisterNames registers, IReadOnlyList<ConfigAccess> one, IReadOnlyList<ConfigAccess> two,
        Func<ConfigAccess, bool> wanted)
    {
        // Both sweeps make the same accesses in the same order; only the original value, written last, may be another.
        var (accesses, others) = (one.Where(wanted).ToList(), two.Where(wanted).ToList());
        List<string> differences = [.. accesses.Zip(others)
            .Where(pair => pair.First != pair.Second)
            .Select(pair => $"{Place(pair.First.Offset, registers)}, size {pair.First.Size}: "
                + $"{firstName} {Outcome(pair.First)}, {secondName} {Outcome(pair.Second)}")];
        var agreement = $"{Math.Min(accesses.Count, others.Count) - differences.Count} {noun} identical";
        if (others.Count != accesses.Count) differences.Add($"count: {firstName} {accesses.Count}, {secondName} {others.Count}");
        return new Finding(subject, agreement, differences);
    }

    private static string Outcome(ConfigAccess access) =>
        access.Written is null ? access.Value : $"{access.Written} written, {access.Value} read";

    private Finding Text(string subject, string one, string two)
    {
        if (one == two) return new Finding(subject, "identical", []);
        var (left, right) = (one.Split('\n'), two.Split('\n'));
        var lines = Enumerable.Range(0, Math.Max(left.Length, right.Length))
            .Select(line => (One: left.ElementAtOrDefault(line)?.Trim() ?? "", Two: right.ElementAtOrDefault(line)?.Trim() ?? ""))
            .Where(pair => pair.One != pair.Two)
            .Select(pair => $"{firstName} \"{pair.One}\", {secondName} \"{pair.Two}\"");
        return new Finding(subject, "by line", [.. lines]);
    }

    public static Finding Nodes(string subject, string oneName, SortedDictionary<string, string> one, string twoName, SortedDictionary<string, string> two)
    {
        var paths = one.Keys.Union(two.Keys).Order(StringComparer.Ordinal).ToList();
        var different = paths.Where(path => one.GetValueOrDefault(path) != two.GetValueOrDefault(path)).ToList();
        var chosen = different.Where(path => one.ContainsKey(path) && two.ContainsKey(path) && GuestsChoice.Contains(path.Split('/')[^1])).ToList();
        var note = chosen.Count == 0 ? "" : $" ({string.Join(", ", chosen.Select(path => path.Split('/')[^1]))}: the guest's choice, left out)";
        return new Finding(subject, $"{paths.Count - different.Count} nodes identical{note}",
            [.. different.Except(chosen).Select(path =>
                $"{path}: {oneName} {one.GetValueOrDefault(path, "absent")}, {twoName} {two.GetValueOrDefault(path, "absent")}")]);
    }

    private static string Place(int offset, RegisterNames registers)
    {
        var name = registers.NameOf(offset);
        return string.Create(CultureInfo.InvariantCulture, $"offset {offset:x3}{(name.Length == 0 ? "" : $" ({name})")}");
    }
}
