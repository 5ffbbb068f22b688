namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>
/// Error names as they travel in the payload of <see cref="XenStoreMessageType.Error"/>. Source: xsd_errors in
/// xen/include/public/io/xs_wire.h. Others may come (oxenstored's EQUOTA is in no table), so errors stay text.
/// </summary>
public static class XenStoreErrorName
{
    public const string EINVAL = nameof(EINVAL);
    public const string EACCES = nameof(EACCES);
    public const string EEXIST = nameof(EEXIST);
    public const string EISDIR = nameof(EISDIR);
    public const string ENOENT = nameof(ENOENT);
    public const string ENOMEM = nameof(ENOMEM);
    public const string ENOSPC = nameof(ENOSPC);
    public const string EIO = nameof(EIO);
    public const string ENOTEMPTY = nameof(ENOTEMPTY);
    public const string ENOSYS = nameof(ENOSYS);
    public const string EROFS = nameof(EROFS);
    public const string EBUSY = nameof(EBUSY);
    public const string EAGAIN = nameof(EAGAIN);
    public const string EISCONN = nameof(EISCONN);
    public const string E2BIG = nameof(E2BIG);
    public const string EPERM = nameof(EPERM);

    /// <summary>Only oxenstored sends it.</summary>
    public const string EQUOTA = nameof(EQUOTA);
}
