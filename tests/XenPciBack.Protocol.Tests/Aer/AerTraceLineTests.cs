using XenPciBack.Protocol.Aer;

namespace XenPciBack.Protocol.Tests.Aer;

public class AerTraceLineTests
{
    private static readonly HostBdf Device = HostBdf.Parse("0000:01:00.0");

    [Theory]
    [InlineData("severity=Corrected, Receiver Error|Bad TLP, TLP Header=Not available", AerSeverity.Correctable, 0x41u)]
    [InlineData("severity=Uncorrected, non-fatal, Completion Timeout, TLP Header=Not available", AerSeverity.NonFatal, 0x4000u)]
    [InlineData("severity=Fatal, Malformed TLP|Receiver Overflow, TLP Header=Not available", AerSeverity.Fatal, 0x60000u)]
    [InlineData("severity=Fatal, Malformed TLP|0x80000002, TLP Header=Not available", AerSeverity.Fatal, 0x80040002u)]
    [InlineData("severity=Corrected, , TLP Header=Not available", AerSeverity.Correctable, 0u)]
    public void An_event_says_the_severity_and_the_status_bits_by_name(string text, AerSeverity severity, uint status)
    {
        var error = AerTraceLine.TryParse($"     irq/26-aerdrv-58      [000] .....   123.456789: aer_event: 0000:01:00.0 PCIe Bus Error: {text}");
        Assert.NotNull(error);
        Assert.Equal((Device, severity, status, AerSource.Trace, 1L), (error.Device, error.Severity, error.Status, error.Source, error.Count));
        Assert.Empty(error.TlpHeader);
    }

    [Fact]
    public void The_header_of_the_packet_comes_as_four_dwords()
    {
        var error = AerTraceLine.TryParse("aer_event: 0000:01:00.0 PCIe Bus Error: severity=Uncorrected, non-fatal, Unsupported Request Error, TLP Header={0x4a000001,0x4,0x1000000,0x0}");
        Assert.Equal<uint>([0x4A000001, 4, 0x01000000, 0], error!.TlpHeader);
        Assert.Equal("non-fatal: Unsupported Request Error, TLP header 4a000001 00000004 01000000 00000000", error.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("# tracer: nop")]
    [InlineData("          <idle>-0       [001] d.h..   12.000001: sched_waking: comm=x")]
    [InlineData("aer_event: nonsense PCIe Bus Error: severity=Fatal, Malformed TLP, TLP Header=Not available")]
    [InlineData("aer_event: 0000:01:00.0 PCIe Bus Error: severity=Odd, Malformed TLP, TLP Header=Not available")]
    public void A_line_about_something_else_is_no_error(string line) => Assert.Null(AerTraceLine.TryParse(line));

    [Fact]
    public void The_kernel_says_how_many_records_nobody_read_in_time()
    {
        Assert.Equal(17, AerTraceLine.LostBefore("CPU:1 [LOST 17 EVENTS]"));
        Assert.Equal(0, AerTraceLine.LostBefore("aer_event: [LOST 17 EVENTS]"));
    }
}
