using System.Globalization;
using System.Text;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Compare;

/// <summary>One config access of a sweep and what came of it.</summary>
/// <param name="Size">1, 2 or 4 bytes.</param>
/// <param name="Offset">0 to 4095, aligned to the size.</param>
/// <param name="Written">What was written before the read, in hexadecimal; null for a plain read.</param>
/// <param name="Value">What was read, in hexadecimal, or ! and an errno.</param>
internal sealed record ConfigAccess(int Size, int Offset, string? Written, string Value);

/// <summary>Every access to a device's config space from inside the guest: see Scripts/config-sweep.pl.</summary>
internal static class ConfigSweep
{
    /// <summary>57,000 accesses of half a millisecond each make half a minute; a loaded machine takes ten times that.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(15);

    public static async Task<IReadOnlyList<ConfigAccess>> RunAsync(Guest guest, string guestBdf)
    {
        var perl = Encoding.UTF8.GetString(Initramfs.Script("config-sweep.pl"));
        var text = await guest.RunAsync($"perl - /sys/bus/pci/devices/{guestBdf}/config << 'END_OF_PERL'\n{perl}\nEND_OF_PERL\n", Patience);
        return [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(Parse)];
    }

    internal static ConfigAccess Parse(string line) => line.Split(' ') switch
    {
        ["r", var size, var offset, var value] => new(Number(size), Offset(offset), null, value),
        ["w", var size, var offset, var written, var value] => new(Number(size), Offset(offset), written, value),
        _ => throw new LabException($"the config sweep printed: {line}"),
    };

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static int Offset(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
