using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Tests.ConfigSpace;

namespace XenPciBack.Protocol.Tests.Records;

/// <summary>What the next daemon finds of a device whose guest goes on using it.</summary>
public class DeviceRecordTests
{
    private const int Command = 0x04, Bar0 = 0x10, Msi = 0x50;

    private readonly byte[] _bytes = new byte[DeviceRecord.Size];

    private readonly RegisterFile _device = new RegisterFile
    {
        Resources = [new PciResource(0xFEB4_0000, 0xFEB4_3FFF, 0x40200), .. new PciResource[6]],
    }.WithCapabilities((Msi, 0x05)).Poke(Command, 2, 0x0002).Poke(Bar0, 4, 0xFEB4_0000);

    [Fact]
    public void The_next_daemon_shows_the_guest_what_the_last_one_showed()
    {
        var before = Open();
        before.Write(Command, 2, 0x0546);
        before.Write(Bar0, 4, uint.MaxValue);
        var seen = Everything(before);

        Assert.Equal(seen, Everything(Open()));
        // The shadow of the command register and the size are not the hardware's.
        Assert.Equal((0x0006u, 0xFEB4_0000u), (_device.Peek(Command, 2), _device.Peek(Bar0, 4)));
        Assert.Equal((0x0546u, 0xFFFF_C000u), (Read(Open(), Command, 2), Read(Open(), Bar0, 4)));
    }

    [Fact]
    public void What_the_guest_has_switched_on_the_next_daemon_can_switch_off()
    {
        Open().Write(Command, 2, 0x0006);
        Open().Write(Command, 2, 0x0000);
        Assert.Equal(0x0002u, _device.Peek(Command, 2));
    }

    [Fact]
    public void The_device_is_given_back_as_it_was_before_the_first_daemon()
    {
        _device.Poke(0x3C, 1, 0x0A);
        Open().Write(Command, 2, 0x0006);
        _device.Poke(0x3C, 1, 0x0B);
        Open().Release();
        Assert.Equal((0x0Au, 0x0002u), (_device.Peek(0x3C, 1), _device.Peek(Command, 2)));
    }

    [Fact]
    public void A_record_that_was_not_finished_counts_for_nothing()
    {
        var record = new DeviceRecord(new Kept(_bytes));
        record.Shadow = new Shadow(0xFFFF, IsDecoding: true, IsBusMaster: true, BarsShowingSize: 1);
        record.Save(Command, 2, 0xFFFF);
        Assert.False(record.IsComplete);
        record.Clear();
        Assert.Equal((0x0002u, 0xFEB4_0000u), (Read(Open(), Command, 2), Read(Open(), Bar0, 4)));
    }

    [Fact]
    public void Clearing_keeps_the_pirqs_that_are_still_mapped()
    {
        Open();
        var record = new DeviceRecord(new Kept(_bytes));
        record.TryAdd(new Pirq(55));
        record.UnsettledError = AerSeverity.NonFatal;
        record.Clear();
        Assert.Equal((false, false, null), (record.IsComplete, record.IsEmpty, record.UnsettledError));
        Assert.Empty(record.Saved);
        Assert.Equal<Pirq>([new Pirq(55)], record.Mapped);
        record.Keep([]);
        Assert.True(record.IsEmpty);
    }

    [Theory]
    [InlineData(null), InlineData(AerSeverity.Correctable), InlineData(AerSeverity.NonFatal), InlineData(AerSeverity.Fatal)]
    public void An_error_that_is_being_seen_to_is_known_to_the_next(AerSeverity? severity)
    {
        new DeviceRecord(new Kept(_bytes)).UnsettledError = severity;
        Assert.Equal(severity, new DeviceRecord(new Kept(_bytes)).UnsettledError);
    }

    [Fact]
    public void Every_register_of_a_whole_config_space_can_be_saved()
    {
        var record = new DeviceRecord(new Kept(_bytes));
        for (var offset = 0; offset < 4096; offset += 4) record.Save(offset, 4, (uint)offset + 1);
        Assert.Equal(1024, record.Saved.Length);
        Assert.All(record.Saved, register => Assert.Equal((4, (uint)register.Offset + 1), (register.Size, register.Value)));
    }

    [Fact]
    public void Rubbish_in_a_record_is_bounded()
    {
        new Random(1).NextBytes(_bytes);
        var record = new DeviceRecord(new Kept(_bytes));
        Assert.False(record.IsComplete);
        Assert.InRange(record.Saved.Length, 0, DeviceRecord.Size / 8);
        Assert.InRange(record.Mapped.Length, 0, DeviceRecord.MostPirqs);
    }

    // Another daemon: nothing of the one before but its record.
    private VirtualConfigSpace Open() => new(_device, new ConfigPolicy(), new DeviceRecord(new Kept(_bytes)));

    private static uint Read(VirtualConfigSpace config, int offset, int size)
    {
        Assert.Equal(PciOpError.Success, config.Read(offset, size, out var value));
        return value;
    }

    private static uint[] Everything(VirtualConfigSpace config) => [.. Enumerable.Range(0, 64).Select(i => Read(config, 4 * i, 4))];

    private sealed class Kept(byte[] bytes) : IRecordMemory
    {
        public Span<byte> Bytes => bytes;

        public void Dispose() { }
    }
}
