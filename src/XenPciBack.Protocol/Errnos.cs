using System.Globalization;

namespace XenPciBack.Protocol;

/// <summary>The Linux errno values this project meets (asm-generic/errno-base.h), by name, for people.</summary>
public static class Errnos
{
    public const int EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, EBADF = 9, EAGAIN = 11,
        ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, EMFILE = 24,
        ENOTTY = 25, EFBIG = 27, ENOSPC = 28, ERANGE = 34, ENOSYS = 38, EOPNOTSUPP = 95, ENOBUFS = 105, ENOTCONN = 107,
        EALREADY = 114;

    /// <summary>The symbol, for example <c>ENOENT</c>; the number where no name is known.</summary>
    public static string Name(int errno) => errno switch
    {
        EPERM => nameof(EPERM), ENOENT => nameof(ENOENT), ESRCH => nameof(ESRCH), EINTR => nameof(EINTR),
        EIO => nameof(EIO), ENXIO => nameof(ENXIO), EBADF => nameof(EBADF),
        EAGAIN => nameof(EAGAIN), ENOMEM => nameof(ENOMEM), EACCES => nameof(EACCES), EFAULT => nameof(EFAULT), EBUSY => nameof(EBUSY),
        EEXIST => nameof(EEXIST), ENODEV => nameof(ENODEV), EINVAL => nameof(EINVAL), EMFILE => nameof(EMFILE), ENOTTY => nameof(ENOTTY),
        EFBIG => nameof(EFBIG),
        ENOSPC => nameof(ENOSPC), ERANGE => nameof(ERANGE), ENOSYS => nameof(ENOSYS), EOPNOTSUPP => nameof(EOPNOTSUPP), ENOTCONN => nameof(ENOTCONN),
        ENOBUFS => nameof(ENOBUFS), EALREADY => nameof(EALREADY),
        _ => string.Create(CultureInfo.InvariantCulture, $"errno {errno}"),
    };
}
