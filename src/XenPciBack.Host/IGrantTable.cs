using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>Maps pages that guests have granted to this domain.</summary>
public interface IGrantTable : IDisposable
{
    /// <summary>Maps one page of <paramref name="domain"/> read-write.</summary>
    /// <exception cref="HostCallException">The reference is 0, unknown, revoked, or belongs to someone else.</exception>
    IGrantMapping Map(DomainId domain, GrantReference reference);
}

/// <summary>A mapped page. Disposing unmaps it; nothing may touch <see cref="Page"/> afterwards.</summary>
public interface IGrantMapping : IDisposable
{
    /// <summary>The 4096 bytes of the page, shared with the guest.</summary>
    Span<byte> Page { get; }
}
