using System.Text;

namespace XenPciBack.Host.Linux;

/// <summary>Hypercalls through libxencall and /dev/xen/privcmd.</summary>
public sealed class XenHypervisor : IHypervisor
{
    private readonly Interop.LibXenCall.Handle _library;

    private XenHypervisor(Interop.LibXenCall.Handle library) => (_library, Version) = (library, ReadVersion(library));

    public string Version { get; }

    /// <exception cref="HostCallException">/dev/xen/privcmd cannot be opened, or the hypervisor does not answer.</exception>
    /// <exception cref="DllNotFoundException">libxencall.so.1 is not installed.</exception>
    public static XenHypervisor Open()
    {
        var library = Interop.LibXenCall.Open();
        try
        {
            return new XenHypervisor(library);
        }
        catch
        {
            library.Dispose();
            throw;
        }
    }

    public void Dispose() => _library.Dispose();

    // xen/include/public/version.h: the hypercall's number, its commands, and the size of xen_extraversion_t.
    private const uint HYPERVISOR_xen_version = 17;
    private const ulong XENVER_version = 0, XENVER_extraversion = 1;
    private const int ExtraVersionSize = 16;

    private static string ReadVersion(Interop.LibXenCall.Handle library)
    {
        var number = Interop.LibXenCall.Call(library, "xen_version(XENVER_version)", HYPERVISOR_xen_version, XENVER_version, null);
        using var extra = Interop.LibXenCall.AllocateBuffer(library, ExtraVersionSize);
        extra.Bytes.Clear();
        Interop.LibXenCall.Call(library, "xen_version(XENVER_extraversion)", HYPERVISOR_xen_version, XENVER_extraversion, extra);
        return FormatVersion(number, extra.Bytes);
    }

    /// <summary>Major in the upper and minor in the lower 16 bits; then the extra text, NUL-terminated, for example <c>.7</c>.</summary>
    internal static string FormatVersion(int number, ReadOnlySpan<byte> extra)
    {
        var end = extra.IndexOf((byte)0);
        return $"{number >> 16}.{number & 0xFFFF}{Encoding.ASCII.GetString(end < 0 ? extra : extra[..end])}";
    }
}
