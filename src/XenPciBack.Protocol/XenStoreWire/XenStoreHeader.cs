using System.Buffers.Binary;

namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>
/// The 16 bytes before every payload, four little-endian u32: type at byte 0, request id at 4, transaction id at 8,
/// payload length in bytes at 12. Source: struct xsd_sockmsg in xen/include/public/io/xs_wire.h.
/// </summary>
/// <param name="Type">Any number: a well-framed message of unknown type is a message.</param>
/// <param name="RequestId">Chosen by the client and echoed in the reply; undefined in a <see cref="XenStoreMessageType.WatchEvent"/>.</param>
/// <param name="TransactionId">0 outside any transaction.</param>
/// <param name="PayloadLength">Bytes that follow the header; unchecked here.</param>
public readonly record struct XenStoreHeader(
    XenStoreMessageType Type, uint RequestId, uint TransactionId, uint PayloadLength)
{
    /// <summary>Bytes.</summary>
    public const int Size = 16;

    /// <summary>Reads the first <see cref="Size"/> bytes of <paramref name="source"/>, which must hold as many.</summary>
    public static XenStoreHeader Read(ReadOnlySpan<byte> source) => new(
        (XenStoreMessageType)BinaryPrimitives.ReadUInt32LittleEndian(source),
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[12..]));

    /// <summary>Writes the first <see cref="Size"/> bytes of <paramref name="destination"/>, which must hold as many.</summary>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)Type);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], RequestId);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], TransactionId);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[12..], PayloadLength);
    }
}
