using System.Buffers.Binary;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Protocol.Tests.Aer;

public class FirstErrorTests
{
    private const uint CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;

    /// <summary>A function whose error capability lies behind another one.</summary>
    private static byte[] ConfigPointingTo(uint pointer, int size = 4096)
    {
        var config = new byte[4096];
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x100), 0x150_1_000B);
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x150), 0x000_2_0001);
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x150 + 0x18), 0x1E0 | pointer);
        return config[..size];
    }

    [Fact]
    public void Of_two_errors_the_function_knows_the_first() => Assert.Equal(18, FirstError.Of(ConfigPointingTo(18), CompletionTimeout | MalformedTlp));

    [Fact]
    public void A_single_error_has_no_order() => Assert.Null(FirstError.Of(ConfigPointingTo(18), MalformedTlp));

    [Fact]
    public void A_pointer_that_has_gone_on_to_another_error_says_nothing() => Assert.Null(FirstError.Of(ConfigPointingTo(12), CompletionTimeout | MalformedTlp));

    [Theory]
    [InlineData(0), InlineData(256), InlineData(0x160)]
    public void A_function_without_the_register_says_nothing(int size) => Assert.Null(FirstError.Of(ConfigPointingTo(18, size), CompletionTimeout | MalformedTlp));

    [Fact]
    public void A_chain_of_capabilities_without_an_end_says_nothing()
    {
        var config = new byte[4096];
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x100), 0x100_1_000B);
        Assert.Null(FirstError.Of(config, CompletionTimeout | MalformedTlp));
    }
}
