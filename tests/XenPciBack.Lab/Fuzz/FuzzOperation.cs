using System.Globalization;

namespace XenPciBack.Lab.Fuzz;

/// <summary>One request of a fuzz run, as it stands in the shared page (xen/interface/io/pciif.h).</summary>
/// <param name="Value">The value to write, or the vectors an enable_msix asks for.</param>
/// <param name="Entries">MSI-X table entries, only for enable_msix.</param>
internal sealed record FuzzOperation(uint Command, uint Domain, uint Bus, uint DevFn, int Offset, int Size, uint Value, params ushort[] Entries)
{
    public const uint Read = 0, Write = 1, EnableMsi = 2, DisableMsi = 3, EnableMsix = 4, DisableMsix = 5;

    private static readonly string[] Names = ["conf_read", "conf_write", "enable_msi", "disable_msi", "enable_msix", "disable_msix"];

    /// <summary>The line that Scripts/raw-frontend.pl reads.</summary>
    public string Line => string.Create(CultureInfo.InvariantCulture,
        $"op {Command} {Domain} {Bus} {DevFn} {Offset} {Size} {Value} {string.Join(' ', Entries)}").TrimEnd();

    /// <summary>The bits an access of its size moves.</summary>
    public uint Mask => Size switch { 1 => 0xFF, 2 => 0xFFFF, _ => uint.MaxValue };

    public bool Touches(int offset) => Offset <= offset && offset < Offset + Size;

    public override string ToString()
    {
        var name = Command < Names.Length ? Names[Command] : string.Create(CultureInfo.InvariantCulture, $"opcode {Command}");
        var where = $"{Domain:x4}:{Bus:x2}:{DevFn >> 3:x2}.{DevFn & 7}";
        return Command switch
        {
            Read => string.Create(CultureInfo.InvariantCulture, $"{name} {where} offset {Offset:x3} size {Size}"),
            Write => string.Create(CultureInfo.InvariantCulture, $"{name} {where} offset {Offset:x3} size {Size} value {Value:x}"),
            EnableMsix => $"{name} {where} {Value} vectors, entries {string.Join(' ', Entries)}",
            _ => $"{name} {where}",
        };
    }
}

/// <summary>What came of it.</summary>
/// <param name="Vectors">The page's vector fields of the entries asked for, whether the request succeeded or not.</param>
/// <param name="FieldsChanged">The backend has written to a field of the request that is not its own.</param>
internal sealed record FuzzOutcome(int Error, uint Value, IReadOnlyList<ushort> Vectors, bool FieldsChanged)
{
    /// <summary>Reads a line of answer of Scripts/raw-frontend.pl.</summary>
    public static FuzzOutcome Parse(string line)
    {
        var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var changed = words is [.., "changed"];
        if (changed) words = words[..^1];
        if (words.Length < 2 || !int.TryParse(words[0], CultureInfo.InvariantCulture, out var error))
            throw new LabException($"the frontend in the guest printed: {line}");
        return new FuzzOutcome(error, uint.Parse(words[1], CultureInfo.InvariantCulture), [.. words[2..].Select(word => ushort.Parse(word, CultureInfo.InvariantCulture))], changed);
    }

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"err {Error} value {Value:x}{string.Concat(Vectors.Select(vector => $" {vector}"))}{(FieldsChanged ? ", request changed" : "")}");

    public bool Equals(FuzzOutcome? other) =>
        other is not null && (Error, Value, FieldsChanged) == (other.Error, other.Value, other.FieldsChanged) && Vectors.SequenceEqual(other.Vectors);

    public override int GetHashCode() => HashCode.Combine(Error, Value);
}
