using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>A call into the host failed: which call, on what, and the errno.</summary>
/// <param name="call">The library function or file, for example <c>xenevtchn_bind_interdomain</c>.</param>
/// <param name="subject">What it was about: domid, port, grant reference or BDF.</param>
/// <param name="errno">Positive Linux errno.</param>
public sealed class HostCallException(string call, string subject, int errno)
    : Exception($"{call} failed for {subject}: {Errnos.Name(errno)}")
{
    public string Call { get; } = call;
    public int Errno { get; } = errno;
}
