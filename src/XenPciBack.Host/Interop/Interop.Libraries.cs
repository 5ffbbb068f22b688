namespace XenPciBack.Host;

/// <summary>
/// The only corner with native calls. One nested class per library; entry points and constants keep their native spelling.
/// </summary>
internal static partial class Interop
{
    /// <summary>Sonames with a stable ABI (symbol-versioned since Xen 4.7); libxenctrl, which has none, is not used.</summary>
    internal static class Libraries
    {
        internal const string XenGntTab = "libxengnttab.so.1";
        internal const string XenEvtchn = "libxenevtchn.so.1";
        internal const string XenCall = "libxencall.so.1";
        internal const string Libc = "libc";
    }
}
