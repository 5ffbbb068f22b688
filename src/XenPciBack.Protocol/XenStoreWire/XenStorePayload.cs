using System.Text;

namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>
/// The two shapes a payload takes (docs/misc/xenstore.txt): strings that each end in one NUL, or strings followed by
/// a value that runs to the end and may hold any byte. Text is Latin-1, so every byte has one character and comes back
/// unchanged.
/// </summary>
public static class XenStorePayload
{
    /// <summary>Each string followed by one NUL.</summary>
    /// <exception cref="ArgumentException">A string holds a NUL or a character that is not one byte.</exception>
    public static byte[] Strings(params ReadOnlySpan<string> strings) => StringsAndValue(strings, "");

    /// <summary>A path with its NUL, then the bytes of the value with none: the payload of WRITE.</summary>
    /// <exception cref="ArgumentException">The value holds a character that is not one byte.</exception>
    public static byte[] PathAndValue(XenStorePath path, string value) => StringsAndValue([path.Text], value);

    /// <summary>The value of a READ, or any reply that is one run of bytes.</summary>
    public static string Text(ReadOnlySpan<byte> payload) => Encoding.Latin1.GetString(payload);

    /// <summary>Splits a payload of NUL-terminated strings. False when the last one has no NUL; none at all is fine.</summary>
    public static bool TrySplit(ReadOnlySpan<byte> payload, out IReadOnlyList<string> strings)
    {
        var found = new List<string>();
        strings = found;
        while (!payload.IsEmpty)
        {
            if (!TryTakeString(ref payload, out var text))
                return false;
            found.Add(text);
        }
        return true;
    }

    /// <summary>Takes one NUL-terminated string off the front of <paramref name="payload"/>; false when there is no NUL.</summary>
    public static bool TryTakeString(ref ReadOnlySpan<byte> payload, out string text)
    {
        var end = payload.IndexOf((byte)0);
        text = end < 0 ? "" : Text(payload[..end]);
        if (end < 0)
            return false;
        payload = payload[(end + 1)..];
        return true;
    }

    private static byte[] StringsAndValue(ReadOnlySpan<string> strings, string value)
    {
        var length = value.Length;
        foreach (var text in strings)
            length += text.Length + 1;
        var payload = new byte[length];
        var rest = payload.AsSpan();
        foreach (var text in strings)
        {
            if (text.Contains('\0', StringComparison.Ordinal))
                throw new ArgumentException("A NUL ends a string on the wire and cannot be part of one.", nameof(strings));
            Put(text, ref rest);
            rest = rest[1..];
        }
        Put(value, ref rest);
        return payload;
    }

    private static void Put(string text, ref Span<byte> destination)
    {
        for (var i = 0; i < text.Length; i++)
        {
            // Encoding.Latin1 would put '?' in silence; a value must never change on its way.
            if (text[i] > 0xff)
                throw new ArgumentException($"Character U+{(int)text[i]:X4} at index {i} is not one byte in Latin-1.", nameof(text));
            destination[i] = (byte)text[i];
        }
        destination = destination[text.Length..];
    }
}
