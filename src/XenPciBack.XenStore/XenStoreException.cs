using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.XenStore;

/// <summary>
/// Anything that went wrong between us and xenstored: xenstored said no (<see cref="XenStoreErrorReplyException"/>),
/// the connection ended (<see cref="XenStoreConnectionLostException"/>), nothing to connect to
/// (<see cref="XenStoreUnreachableException"/>), a transaction that others kept overtaking
/// (<see cref="XenStoreConflictException"/>), or bytes that are not the protocol
/// (<see cref="XenStoreProtocolException"/>). Misuse by the caller is an <see cref="ArgumentException"/> or the like.
/// </summary>
public abstract class XenStoreException(string message, Exception? cause = null) : Exception(message, cause)
{
    /// <summary>The same call may succeed when made again.</summary>
    public virtual bool IsTransient => false;
}

/// <summary>xenstored (or, through /dev/xen/xenbus, the kernel) answered with an error.</summary>
public sealed class XenStoreErrorReplyException(string errorName, XenStoreMessageType operation, string path)
    : XenStoreException($"xenstored answered {errorName} to {operation} {path}")
{
    /// <summary>As received, e.g. <see cref="XenStoreErrorName.EACCES"/>; names in no table are kept too.</summary>
    public string ErrorName { get; } = errorName;

    public XenStoreMessageType Operation { get; } = operation;

    /// <summary>What was asked for; a domid for the operations on domains, "" where the operation has no object.</summary>
    public string Path { get; } = path;

    /// <inheritdoc/>
    public override bool IsTransient => ErrorName is XenStoreErrorName.EAGAIN or XenStoreErrorName.EBUSY;
}

/// <summary>
/// The connection ended before the answer came, so whether the request was carried out is not known; or none came back
/// in time. The inner exception is the cause, the same for every call that failed with it; null when xenstored closed.
/// </summary>
public sealed class XenStoreConnectionLostException(string message, Exception? cause = null)
    : XenStoreException(message, cause)
{
    /// <inheritdoc/>
    public override bool IsTransient => true;
}

/// <summary>No xenstored was found. The message names each place tried and why it failed.</summary>
public sealed class XenStoreUnreachableException(string message, Exception? cause = null)
    : XenStoreException(message, cause);

/// <summary>A transaction met a conflict (EAGAIN) on each of its tries; nothing of it was stored.</summary>
public sealed class XenStoreConflictException(int tries)
    : XenStoreException($"the transaction conflicted with other writers on each of {tries} tries")
{
    public int Tries { get; } = tries;

    /// <inheritdoc/>
    public override bool IsTransient => true;
}

/// <summary>Received bytes that are not the XenStore protocol; the connection is closed, since the stream cannot be trusted.</summary>
public sealed class XenStoreProtocolException(string message) : XenStoreException(message);
