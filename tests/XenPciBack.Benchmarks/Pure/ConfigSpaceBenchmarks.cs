using BenchmarkDotNet.Attributes;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>A request about config space: which device it is for, and what the guest may read and write.</summary>
public class ConfigSpaceBenchmarks
{
    private const int Command = 0x04, Revision = 0x08, Bar0 = 0x10, NoRule = 0x200, Slots = 4;

    private static readonly RegisterFile Card = new();

    private readonly VirtualConfigSpace _config = Open();
    private readonly VirtualSlots _slots = Enumerable.Range(0, Slots).Aggregate(
        VirtualSlots.Empty(Topology.Vpci), (slots, slot) => slots.Place(
            new SlotCandidate(new HostBdf(0, 3, slot, 0), false, []), new VirtualBdf(0, 0, slot, 0)));

    [Benchmark]
    public HostBdf? FindDeviceInLastOfFourSlots() => _slots.Find(0, 0, (Slots - 1) << 3);

    [Benchmark]
    public PciOpError ReadRevision() => _config.Read(Revision, 4, out _);

    [Benchmark]
    public PciOpError ReadCommand() => _config.Read(Command, 2, out _);

    [Benchmark]
    public PciOpError ReadBar() => _config.Read(Bar0, 4, out _);

    [Benchmark]
    public PciOpError ReadWithoutRule() => _config.Read(NoRule, 4, out _);

    [Benchmark]
    public PciOpError WriteCommand() => _config.Write(Command, 2, 0x0006).Error;

    [Benchmark]
    public PciOpError WriteBar() => _config.Write(Bar0, 4, uint.MaxValue).Error;

    [Benchmark]
    public PciOpError WriteWithoutRule() => _config.Write(NoRule, 4, 1).Error;

    /// <summary>Each device, when its guest gets it: the rules are set up and its registers put on record.</summary>
    [Benchmark]
    public VirtualConfigSpace OpenDevice() => Open();

    private static VirtualConfigSpace Open() => new(Card, new ConfigPolicy(), new DeviceRecord());
}
