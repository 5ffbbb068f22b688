using XenPciBack.Protocol.Aer;

namespace XenPciBack.Protocol.Tests.Aer;

public class AerCountersTests
{
    private const string NonFatal = "Undefined 0\nDLP 0\nCmpltTO 3\nUnsupReq 1\nTOTAL_ERR_NONFATAL 3\n";

    [Fact]
    public void Sysfs_counts_each_bit_and_each_error()
    {
        var counters = AerCounters.TryParse(AerSeverity.NonFatal, NonFatal);
        Assert.NotNull(counters);
        Assert.Equal((3, 3, 1), (counters.Total, counters.ByBit[14], counters.ByBit[20]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("CmpltTO 3\n")]
    [InlineData("TOTAL_ERR_NONFATAL many\n")]
    public void Without_a_total_there_is_nothing_to_compare(string text) => Assert.Null(AerCounters.TryParse(AerSeverity.NonFatal, text));

    [Fact]
    public void A_name_of_a_newer_kernel_counts_in_the_total_alone()
    {
        var counters = AerCounters.TryParse(AerSeverity.NonFatal, "FluxCapacitor 2\nTOTAL_ERR_NONFATAL 2\n");
        Assert.Equal(2, counters!.Total);
        Assert.Equal(0, counters.ByBit.Sum());
    }

    [Fact]
    public void Two_readings_tell_the_bits_that_were_set_in_between()
    {
        var before = AerCounters.TryParse(AerSeverity.NonFatal, NonFatal)!;
        Assert.Equal(0x00100000u, before.Add(0x00100000).RisenSince(before));
        Assert.Equal(4, before.Add(0x00100000).Total);
    }

    [Fact]
    public void Bits_have_the_names_of_the_specification()
    {
        Assert.Equal("Completion Timeout | Malformed TLP", AerStatus.Describe(AerSeverity.Fatal, 1 << 14 | 1 << 18));
        Assert.Equal("bit 3", AerStatus.Describe(AerSeverity.Correctable, 1 << 3));
        Assert.Equal("no status", AerStatus.Describe(AerSeverity.Fatal, 0));
    }
}
