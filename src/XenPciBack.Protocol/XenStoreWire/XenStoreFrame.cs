namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>What the bytes received so far amount to.</summary>
public enum XenStoreFrameStatus
{
    /// <summary>At least <see cref="XenStoreFrame.MissingBytes"/> more must arrive before anything else can be said.</summary>
    NeedsMoreBytes,

    /// <summary>One whole message stands at the front: <see cref="XenStoreFrame.FrameLength"/> bytes.</summary>
    Message,

    /// <summary>The announced payload is longer than we accept; the stream is lost and the connection must end.</summary>
    Malformed,
}

/// <summary>
/// The frame at the front of a byte stream, as far as it has arrived. Decoding is a pure function of the bytes, so a
/// stream cut anywhere gives the same messages; nothing is allocated before the announced length has been checked.
/// </summary>
public readonly record struct XenStoreFrame(XenStoreFrameStatus Status, int MissingBytes, XenStoreHeader Header)
{
    /// <summary>Header and payload, in bytes. Meaningful for a <see cref="XenStoreFrameStatus.Message"/>.</summary>
    public int FrameLength => XenStoreHeader.Size + (int)Header.PayloadLength;

    /// <summary>Looks at the front of <paramref name="received"/>.</summary>
    /// <param name="received">Every byte received and not yet consumed.</param>
    /// <param name="acceptedPayload">Longest payload to accept, in bytes, e.g. <see cref="XenStoreLimits.AcceptedPayload"/>.</param>
    public static XenStoreFrame Decode(ReadOnlySpan<byte> received, int acceptedPayload)
    {
        if (received.Length < XenStoreHeader.Size)
            return new(XenStoreFrameStatus.NeedsMoreBytes, XenStoreHeader.Size - received.Length, default);
        var header = XenStoreHeader.Read(received);
        if (header.PayloadLength > acceptedPayload)
            return new(XenStoreFrameStatus.Malformed, 0, header);
        var missing = XenStoreHeader.Size + (int)header.PayloadLength - received.Length;
        return missing > 0
            ? new(XenStoreFrameStatus.NeedsMoreBytes, missing, header)
            : new(XenStoreFrameStatus.Message, 0, header);
    }

    /// <summary>The payload of a whole message at the front of <paramref name="received"/>.</summary>
    public ReadOnlySpan<byte> PayloadIn(ReadOnlySpan<byte> received) =>
        received.Slice(XenStoreHeader.Size, (int)Header.PayloadLength);

    /// <summary>
    /// One message as it goes over the wire. The caller has checked the payload against the limit of its transport.
    /// </summary>
    public static byte[] Encode(
        XenStoreMessageType type, uint requestId, uint transactionId, ReadOnlySpan<byte> payload)
    {
        var frame = new byte[XenStoreHeader.Size + payload.Length];
        new XenStoreHeader(type, requestId, transactionId, (uint)payload.Length).Write(frame);
        payload.CopyTo(frame.AsSpan(XenStoreHeader.Size));
        return frame;
    }
}
