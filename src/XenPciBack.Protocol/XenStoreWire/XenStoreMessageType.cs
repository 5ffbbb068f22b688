namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>
/// What a message asks or answers: the u32 at byte offset 0 of the header. A reply repeats the type of its request,
/// or is <see cref="Error"/>. Source: enum xsd_sockmsg_type in xen/include/public/io/xs_wire.h; payload grammar in
/// docs/misc/xenstore.txt.
/// </summary>
/// <remarks>Numbers are the wire's; 20 was withdrawn (RESTRICT) and stays unassigned.</remarks>
public enum XenStoreMessageType : uint
{
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Introduce = 8,
    Release = 9,
    GetDomainPath = 10,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,

    /// <summary>From xenstored, unasked: the only message whose request id means nothing.</summary>
    WatchEvent = 15,

    /// <summary>From xenstored: the payload is an error name and one NUL.</summary>
    Error = 16,
    IsDomainIntroduced = 17,
    Resume = 18,
    SetTarget = 19,
    ResetWatches = 21,
    DirectoryPart = 22,

    /// <summary>Xen 4.21 and later, like the three after it; older daemons answer ENOSYS.</summary>
    GetFeature = 23,
    SetFeature = 24,
    GetQuota = 25,
    SetQuota = 26,
    Invalid = 0xffff,
}
