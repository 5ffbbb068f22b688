using System.Text;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>The answer to one request.</summary>
/// <param name="ErrorName">Null on success.</param>
/// <param name="Payload">Without meaning beside an error.</param>
/// <param name="FirstEvent">The event that follows the OK of a new watch.</param>
internal readonly record struct StoreReply(string? ErrorName, byte[] Payload, StoreWatch? FirstEvent = null)
{
    public static readonly StoreReply Ok = OfStrings("OK");

    public static StoreReply OfStrings(params ReadOnlySpan<string> strings) => new(null, XenStorePayload.Strings(strings));

    public static StoreReply OfBytes(byte[] value) => new(null, value);

    public static StoreReply OfText(string text) => new(null, Encoding.Latin1.GetBytes(text));

    public static implicit operator StoreReply(string errorName) => new(errorName, []);

    /// <summary>The message that answers <paramref name="request"/>; errors echo both ids, too.</summary>
    public byte[] Encode(XenStoreHeader request) => ErrorName is null
        ? XenStoreFrame.Encode(request.Type, request.RequestId, request.TransactionId, Payload)
        : XenStoreFrame.Encode(XenStoreMessageType.Error, request.RequestId, request.TransactionId, XenStorePayload.Strings(ErrorName));
}
