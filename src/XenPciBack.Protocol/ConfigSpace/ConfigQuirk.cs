using System.Globalization;
using System.Text.RegularExpressions;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>
/// A register of one function that its guests may read and write as it is, in the grammar of the kernel's sysfs attribute
/// <c>quirks</c>: <c>[DDDD:]BB:SS.F-REG:SIZE:MASK</c>, every part hexadecimal.
/// </summary>
/// <param name="Offset">Byte offset in config space, 0 to 0xFFF.</param>
/// <param name="Size">Bytes: 1, 2 or 4.</param>
/// <param name="Mask">No wider than the register. As in the kernel it is checked and shown, and does not limit what is written.</param>
public sealed partial record ConfigQuirk(HostBdf Device, int Offset, int Size, uint Mask)
{
    private const string Grammar = "[DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal";

    /// <returns>null, or what is wrong with the text and what was expected; the kernel answers each of them with EINVAL.</returns>
    public static string? TryParse(string text, out ConfigQuirk? quirk)
    {
        quirk = null;
        var match = Syntax().Match(text.Trim());
        if (!match.Success || !Hex(match, "reg", out var offset) || !Hex(match, "size", out var size) || !Hex(match, "mask", out var mask))
            return $"'{text}' is no quirk; expected {Grammar}";
        var segment = match.Groups["domain"].Success ? match.Groups["domain"].Value : "0";
        if (!HostBdf.TryParse($"{segment}:{match.Groups["address"].Value}", out var device))
            return $"'{text}' names no PCI address; expected domain 0 to ffff, bus 0 to ff, slot 0 to 1f, function 0 to 7";
        if (offset >= VirtualConfigSpace.Size) return $"'{text}' has register {offset:x}; expected 0 to fff";
        if (size is not (1 or 2 or 4)) return $"'{text}' has size {size:x}; expected 1, 2 or 4";
        if (size < 4 && mask >> (int)(8 * size) != 0) return $"'{text}' has mask {mask:x}; expected no more than {2 * size} digits for a size of {size}";
        quirk = new ConfigQuirk(device, (int)offset, (int)size, mask);
        return null;
    }

    /// <summary>The text that <see cref="TryParse"/> reads: <c>0000:03:00.0-0e0:2:0000ffff</c>.</summary>
    public override string ToString() => $"{Device}-{Offset:x3}:{Size:x}:{Mask:x8}";

    private static bool Hex(Match match, string name, out uint value) =>
        uint.TryParse(match.Groups[name].ValueSpan, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);

    [GeneratedRegex(@"^(?:(?<domain>[0-9a-f]+):)?(?<address>[0-9a-f]+:[0-9a-f]+\.[0-9a-f]+)-(?<reg>[0-9a-f]+):(?<size>[0-9a-f]+):(?<mask>[0-9a-f]+)$",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Syntax();
}
