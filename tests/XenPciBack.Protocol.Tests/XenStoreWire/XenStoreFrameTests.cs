using CsCheck;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Protocol.Tests.XenStoreWire;

public sealed class XenStoreFrameTests
{
    /// <summary>Message and its exact bytes, written out by hand from docs/misc/xenstore.txt and xs_wire.h.</summary>
    public static TheoryData<XenStoreMessageType, uint, uint, string, string> Golden => new()
    {
        { XenStoreMessageType.Read, 1, 0, "/a\0", "02000000 01000000 00000000 03000000 2f6100" },
        { XenStoreMessageType.Write, 0x01020304, 7, "/a\0v", "0b000000 04030201 07000000 04000000 2f610076" },
        { XenStoreMessageType.TransactionStart, 2, 0, "\0", "06000000 02000000 00000000 01000000 00" },
        { XenStoreMessageType.TransactionEnd, 3, uint.MaxValue, "T\0", "07000000 03000000 ffffffff 02000000 5400" },
        { XenStoreMessageType.Watch, 4, 0, "/a\0t\0", "04000000 04000000 00000000 05000000 2f61007400" },
        { XenStoreMessageType.WatchEvent, 0, 0, "/a\0t\0", "0f000000 00000000 00000000 05000000 2f61007400" },
        { XenStoreMessageType.Error, 5, 0, "ENOENT\0", "10000000 05000000 00000000 07000000 454e4f454e5400" },
        { XenStoreMessageType.ResetWatches, 6, 0, "\0", "15000000 06000000 00000000 01000000 00" },
        { XenStoreMessageType.DirectoryPart, 7, 0, "/\00\0", "16000000 07000000 00000000 04000000 2f003000" },
        { (XenStoreMessageType)0xffff, 8, 0, "", "ffff0000 08000000 00000000 00000000" },
        { (XenStoreMessageType)0x12345678, 9, 0, "", "78563412 09000000 00000000 00000000" },
    };

    [Theory, MemberData(nameof(Golden))]
    public void A_message_has_exactly_these_bytes_in_both_directions(
        XenStoreMessageType type, uint requestId, uint transactionId, string text, string hex)
    {
        var bytes = Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
        var payload = Latin1(text);
        Assert.Equal(bytes, XenStoreFrame.Encode(type, requestId, transactionId, payload));

        var frame = XenStoreFrame.Decode(bytes, XenStoreLimits.SentPayload);
        Assert.Equal(XenStoreFrameStatus.Message, frame.Status);
        Assert.Equal(new XenStoreHeader(type, requestId, transactionId, (uint)payload.Length), frame.Header);
        Assert.Equal(payload, frame.PayloadIn(bytes));
        Assert.Equal(bytes.Length, frame.FrameLength);
    }

    [Theory, MemberData(nameof(Golden))]
    public void Every_prefix_of_a_message_asks_for_what_it_lacks(
        XenStoreMessageType type, uint requestId, uint transactionId, string text, string hex)
    {
        Assert.NotEmpty(hex);
        var bytes = XenStoreFrame.Encode(type, requestId, transactionId, Latin1(text));
        for (var length = 0; length < bytes.Length; length++)
        {
            var frame = XenStoreFrame.Decode(bytes.AsSpan(0, length), XenStoreLimits.SentPayload);
            // Before the header is complete nobody knows of the payload.
            var next = length < XenStoreHeader.Size ? XenStoreHeader.Size : bytes.Length;
            Assert.Equal((XenStoreFrameStatus.NeedsMoreBytes, next - length), (frame.Status, frame.MissingBytes));
        }
    }

    [Theory]
    [InlineData(0u, true)]
    [InlineData(4096u, true)]
    [InlineData(4097u, false)]
    [InlineData(0x8000_0000u, false)]
    [InlineData(uint.MaxValue, false)]
    public void A_length_beyond_the_limit_is_malformed_as_soon_as_the_header_is_there(uint length, bool isAccepted)
    {
        var bytes = new byte[XenStoreHeader.Size];
        new XenStoreHeader(XenStoreMessageType.Read, 1, 0, length).Write(bytes);
        Assert.Equal(isAccepted, XenStoreFrame.Decode(bytes, XenStoreLimits.SentPayload).Status != XenStoreFrameStatus.Malformed);
    }

    [Fact]
    public void A_stream_cut_anywhere_gives_the_same_messages() =>
        Gen.Select(Stream, Gen.Double.Unit).Sample((messages, cut) =>
        {
            var stream = messages.SelectMany(m => XenStoreFrame.Encode(m.Type, m.Id, m.Tx, m.Payload)).ToArray();
            var at = (int)(cut * stream.Length);
            var expected = messages.Select(m => Convert.ToHexString(m.Payload));
            return Receive([stream]).SequenceEqual(expected)
                && Receive([stream[..at], stream[at..]]).SequenceEqual(expected)
                && Receive(stream.Chunk(1)).SequenceEqual(expected);
        }, iter: 500);

    [Fact]
    public void Every_split_in_two_of_two_messages_gives_both()
    {
        byte[] stream =
        [
            .. XenStoreFrame.Encode(XenStoreMessageType.WatchEvent, 0, 0, "/a\0t\0"u8),
            .. XenStoreFrame.Encode(XenStoreMessageType.Read, 1, 0, "v"u8),
        ];
        for (var at = 0; at <= stream.Length; at++)
            Assert.Equal(["2F61007400", "76"], Receive([stream[..at], stream[at..]]));
    }

    [Fact]
    public void Any_bytes_whatever_are_a_message_a_prefix_or_malformed_and_never_an_exception() =>
        Gen.Byte.Array[0, 64].Sample(bytes =>
        {
            var frame = XenStoreFrame.Decode(bytes, XenStoreLimits.AcceptedPayload);
            return frame.Status switch
            {
                XenStoreFrameStatus.Message => frame.FrameLength <= bytes.Length,
                XenStoreFrameStatus.NeedsMoreBytes => frame.MissingBytes is > 0 and <= XenStoreHeader.Size + XenStoreLimits.AcceptedPayload,
                _ => frame.Header.PayloadLength > XenStoreLimits.AcceptedPayload,
            };
        }, iter: 10_000);

    private static readonly Gen<(XenStoreMessageType Type, uint Id, uint Tx, byte[] Payload)[]> Stream =
        Gen.Select(Gen.UInt[0, 30].Select(type => (XenStoreMessageType)type), Gen.UInt, Gen.UInt, Gen.Byte.Array[0, 40]).Array[0, 6];

    private static List<string> Receive(IEnumerable<byte[]> pieces)
    {
        var payloads = new List<string>();
        byte[] received = [];
        foreach (var piece in pieces)
        {
            received = [.. received, .. piece];
            XenStoreFrame frame;
            while ((frame = XenStoreFrame.Decode(received, XenStoreLimits.SentPayload)).Status == XenStoreFrameStatus.Message)
            {
                payloads.Add(Convert.ToHexString(frame.PayloadIn(received)));
                received = received[frame.FrameLength..];
            }
        }
        Assert.Empty(received);
        return payloads;
    }

    private static byte[] Latin1(string text) => System.Text.Encoding.Latin1.GetBytes(text);
}
