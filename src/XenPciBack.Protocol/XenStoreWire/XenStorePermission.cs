using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>What a domain may do with a node; the letter is 'n', 'r', 'w' or 'b'. Source: docs/misc/xenstore.txt.</summary>
[Flags]
public enum XenStoreAccess
{
    None = 0,
    Read = 1,
    Write = 2,
    Both = Read | Write,
}

/// <summary>
/// One entry of a node's permissions, written as a letter and a decimal domid ("r5"). In the first entry of a list the
/// domid owns the node and always has full access, and the letter is what every domain not listed may do.
/// </summary>
/// <param name="Access">What that domain, or every domain not listed, may do.</param>
/// <param name="Domid">0 to 65535.</param>
[SuppressMessage("Naming", "CA1711", Justification = "The field's own word; the old .NET attribute family is not meant.")]
public readonly record struct XenStorePermission(XenStoreAccess Access, int Domid)
{
    private const string Letters = "nrwb";

    /// <summary>"n0", "r5": as on the wire, without the NUL.</summary>
    public override string ToString() => $"{Letters[(int)Access]}{Domid}";

    /// <summary>Reads one entry without throwing.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out XenStorePermission permission)
    {
        permission = default;
        if (text is null or "" || Letters.IndexOf(text[0], StringComparison.Ordinal) is not (>= 0 and var access)
            || !ushort.TryParse(text.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out var domid))
            return false;
        permission = new((XenStoreAccess)access, domid);
        return true;
    }

    /// <summary>Reads "n0,r5", the way people and the reference write a list.</summary>
    /// <exception cref="FormatException">Not such a list.</exception>
    public static IReadOnlyList<XenStorePermission> ParseList(string text) =>
        [.. text.Split(',').Select(entry => TryParse(entry, out var permission) ? permission
            : throw new FormatException($"\"{entry}\" is not a xenstore permission: one of n r w b, then a domid."))];
}
