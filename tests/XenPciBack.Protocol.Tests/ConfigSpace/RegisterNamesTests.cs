using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Protocol.Tests.ConfigSpace;

public class RegisterNamesTests
{
    [Theory]
    [InlineData(0x05, "Command")]
    [InlineData(0x13, "BAR 0")]
    [InlineData(0x40, "MSI-X: ID")]
    [InlineData(0x43, "MSI-X: Message Control")]
    [InlineData(0x103, "Advanced Error Reporting")]
    [InlineData(0x4B, "MSI-X: PBA")]
    [InlineData(0x4C, "")]
    [InlineData(0x105, "Advanced Error Reporting: Uncorrectable Status")]
    [InlineData(0x141, "Device Serial Number")]
    [InlineData(0x14C, "")]
    public void Offsets_have_the_names_of_their_registers(int offset, string name)
    {
        var config = new byte[4096];
        config[0x34] = 0x40;
        config[0x40] = 0x11; // MSI-X, the last capability
        (config[0x100], config[0x102], config[0x103]) = (0x01, 0x01, 0x14); // AER; the next at 0x140
        config[0x140] = 0x03;
        Assert.Equal(name, new RegisterNames(config).NameOf(offset));
    }

    [Fact]
    public void A_capability_list_that_loops_ends()
    {
        var config = new byte[256];
        (config[0x34], config[0x40], config[0x41]) = (0x40, 0x01, 0x40);
        Assert.Equal("Power Management: PMCSR", new RegisterNames(config).NameOf(0x44));
    }
}
