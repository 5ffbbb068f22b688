using BenchmarkDotNet.Attributes;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>Each exchange with xenstored.</summary>
public class XenStoreWireBenchmarks
{
    private const string Node = "/local/domain/0/backend/pci/5/0/state";

    private static readonly XenStorePath Path = new(Node), Directory = new("/local/domain/0/backend/pci/5/0");
    private static readonly byte[]
        Event = XenStoreFrame.Encode(XenStoreMessageType.WatchEvent, 0, 0, XenStorePayload.Strings(Node, "token")),
        Listing = XenStorePayload.Strings([.. Enumerable.Range(0, 1000).Select(guest => $"{guest}")]);

    [Benchmark]
    public byte[] EncodeRead() => XenStoreFrame.Encode(XenStoreMessageType.Read, 1, 0, XenStorePayload.Strings(Node));

    [Benchmark]
    public byte[] EncodeWrite() =>
        XenStoreFrame.Encode(XenStoreMessageType.Write, 1, 0, XenStorePayload.PathAndValue(Path, "4"));

    [Benchmark]
    public bool DecodeWatchEvent()
    {
        var frame = XenStoreFrame.Decode(Event, XenStoreLimits.AcceptedPayload);
        return XenStorePayload.TrySplit(frame.PayloadIn(Event), out _);
    }

    [Benchmark]
    public bool SplitListOfThousandGuests() => XenStorePayload.TrySplit(Listing, out _);

    [Benchmark]
    public XenStorePath JoinPath() => Directory / "state";
}
