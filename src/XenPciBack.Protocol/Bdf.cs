using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>Where a device really is on the host: segment 0..0xFFFF, bus 0..0xFF, slot 0..0x1F, function 0..7.</summary>
public readonly record struct HostBdf
{
    public HostBdf(int segment, int bus, int slot, int function)
    {
        BdfRange.Check(segment, bus, slot, function);
        (Segment, Bus, Slot, Function) = ((ushort)segment, (byte)bus, (byte)slot, (byte)function);
    }

    public ushort Segment { get; }
    public byte Bus { get; }
    public byte Slot { get; }
    public byte Function { get; }

    /// <summary>Slot and function packed as PCI does: slot &lt;&lt; 3 | function.</summary>
    public byte DevFn => (byte)((Slot << 3) | Function);

    /// <summary>Parses <c>ssss:bb:dd.f</c>, every part hexadecimal, as libxl writes <c>dev-N</c>.</summary>
    public static bool TryParse(string? text, out HostBdf bdf)
    {
        var ok = BdfRange.TryParse(text, out var s, out var b, out var d, out var f);
        bdf = ok ? new HostBdf(s, b, d, f) : default;
        return ok;
    }

    public static HostBdf Parse(string text) =>
        TryParse(text, out var bdf) ? bdf : throw new FormatException($"'{text}' is not a PCI address; expected ssss:bb:dd.f in hexadecimal");

    /// <summary>The text of sysfs and of <c>dev-N</c>: <c>0000:03:00.0</c>.</summary>
    public override string ToString() => $"{Segment:x4}:{Bus:x2}:{Slot:x2}.{Function:x1}";
}

/// <summary>Where a guest sees a device. Never mixed up with <see cref="HostBdf"/>: only the slot assignment translates.</summary>
public readonly record struct VirtualBdf
{
    public VirtualBdf(int segment, int bus, int slot, int function)
    {
        BdfRange.Check(segment, bus, slot, function);
        (Segment, Bus, Slot, Function) = ((ushort)segment, (byte)bus, (byte)slot, (byte)function);
    }

    public ushort Segment { get; }
    public byte Bus { get; }
    public byte Slot { get; }
    public byte Function { get; }
    public byte DevFn => (byte)((Slot << 3) | Function);

    /// <summary>Parses the text of a <c>vdev-N</c> node.</summary>
    public static bool TryParse(string? text, out VirtualBdf bdf)
    {
        var ok = BdfRange.TryParse(text, out var s, out var b, out var d, out var f);
        bdf = ok ? new VirtualBdf(s, b, d, f) : default;
        return ok;
    }

    /// <summary>The text of <c>vdev-N</c>: <c>0000:00:00.00</c>. The two-digit function is protocol, however odd it looks.</summary>
    public string ToNodeText() => $"{Segment:x4}:{Bus:x2}:{Slot:x2}.{Function:x2}";

    public override string ToString() => $"{Segment:x4}:{Bus:x2}:{Slot:x2}.{Function:x1}";
}

/// <summary>A virtual bus at which a guest begins to look for devices: segment 0..0xFFFF, bus 0..0xFF.</summary>
public readonly record struct PciRoot(ushort Segment, byte Bus)
{
    /// <summary>Parses the text of a <c>root-N</c> node.</summary>
    public static bool TryParse(string? text, out PciRoot root)
    {
        var ok = VirtualBdf.TryParse($"{text}:0.0", out var bdf);
        root = new PciRoot(bdf.Segment, bdf.Bus);
        return ok;
    }

    /// <summary>The text of <c>root-N</c>: <c>0000:00</c>.</summary>
    public override string ToString() => $"{Segment:x4}:{Bus:x2}";
}

internal static class BdfRange
{
    public static void Check(int segment, int bus, int slot, int function)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(segment);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(segment, 0xFFFF);
        ArgumentOutOfRangeException.ThrowIfNegative(bus);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bus, 0xFF);
        ArgumentOutOfRangeException.ThrowIfNegative(slot);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(slot, 0x1F);
        ArgumentOutOfRangeException.ThrowIfNegative(function);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(function, 7);
    }

    public static bool TryParse(string? text, out int segment, out int bus, out int slot, out int function)
    {
        segment = bus = slot = function = 0;
        if (text is null || text.Length > 16) return false;
        var colons = text.Split(':');
        if (colons.Length != 3 || colons[2].Split('.') is not [var slotText, var functionText]) return false;
        return Hex(colons[0], 0xFFFF, out segment) && Hex(colons[1], 0xFF, out bus) && Hex(slotText, 0x1F, out slot) && Hex(functionText, 7, out function);
    }

    /// <summary>A hexadecimal number from 0 to <paramref name="max"/>, without a sign or blanks.</summary>
    public static bool Hex(string text, int max, out int value) =>
        int.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value >= 0 && value <= max;
}
