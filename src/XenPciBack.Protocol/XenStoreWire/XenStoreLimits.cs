namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>Sizes in bytes that bound a message or a name.</summary>
public static class XenStoreLimits
{
    /// <summary>Payload we ever send, and the most xenstored takes: XENSTORE_PAYLOAD_MAX, xen/include/public/io/xs_wire.h.</summary>
    public const int SentPayload = 4096;

    /// <summary>
    /// Payload we send through /dev/xen/xenbus: Linux assembles header and payload in one buffer of 4096 bytes
    /// (drivers/xen/xenbus/xenbus_dev_frontend.c).
    /// </summary>
    public const int SentPayloadThroughDevice = SentPayload - XenStoreHeader.Size;

    /// <summary>
    /// Payload we accept. More than the protocol allows, because oxenstored answers DIRECTORY of a large node with one
    /// oversized reply (6300 bytes measured); bounded, so that a broken peer cannot make us allocate at will.
    /// </summary>
    public const int AcceptedPayload = 64 * 1024;

    /// <summary>XENSTORE_ABS_PATH_MAX, xen/include/public/io/xs_wire.h; without the NUL.</summary>
    public const int AbsolutePath = 3072;

    /// <summary>XENSTORE_REL_PATH_MAX, xen/include/public/io/xs_wire.h; without the NUL. Special names count as relative.</summary>
    public const int RelativePath = 2048;
}
