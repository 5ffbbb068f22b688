using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Tests.ConfigSpace;

namespace XenPciBack.Protocol.Tests.Interrupts;

/// <summary>A guest's interrupts must not take down a line that drivers of the host listen on.</summary>
public class InterruptLineTests
{
    private const uint IntxDisable = 0x0400;

    private static RegisterFile Device(bool shared, bool withMsi)
    {
        var device = new RegisterFile { LineSharers = shared ? ["ahci[0000:00:1f.2]", "eth0"] : [] }.Poke(0x3D, 1, 1);
        return withMsi ? device.WithCapabilities((0x50, 0x05)) : device;
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public void A_line_of_its_own_is_the_guests(bool withMsi)
    {
        var device = Device(shared: false, withMsi);
        Assert.Null(InterruptLine.ObjectionTo(device, new ConfigPolicy(), out var keepSilent));
        Assert.False(keepSilent);
        Assert.Empty(device.Writes);
    }

    [Fact]
    public void A_shared_line_is_refused_by_name_to_a_device_that_has_nothing_else()
    {
        Assert.Equal(
            "it shares interrupt line 26 with ahci[0000:00:1f.2], eth0 of this host, which its interrupts would take down, and it has neither MSI nor MSI-X; "
            + "move one of the two to another slot, or set allow-shared-line for this device",
            InterruptLine.ObjectionTo(Device(shared: true, withMsi: false), new ConfigPolicy(), out _));
    }

    [Fact]
    public void A_device_with_message_interrupts_keeps_a_shared_line_silent()
    {
        var device = Device(shared: true, withMsi: true);
        Assert.Null(InterruptLine.ObjectionTo(device, new ConfigPolicy(), out var keepSilent));
        Assert.True(keepSilent);
        Assert.Equal(0u, device.Peek(0x04, 2));
    }

    [Fact]
    public void A_bridge_and_a_device_without_a_pin_have_no_line_of_their_own()
    {
        Assert.Null(InterruptLine.ObjectionTo(Device(shared: true, withMsi: false).Poke(0x0E, 1, 0x81), new ConfigPolicy(), out _));
        Assert.Null(InterruptLine.ObjectionTo(Device(shared: true, withMsi: false).Poke(0x3D, 1, 0), new ConfigPolicy(), out _));
    }

    [Fact]
    public void A_device_that_cannot_be_silenced_is_refused()
    {
        var device = Device(shared: true, withMsi: true);
        device.ReadOnly.Add(0x04);
        Assert.Contains("it cannot be kept from using it", InterruptLine.ObjectionTo(device, new ConfigPolicy(), out _), StringComparison.Ordinal);
    }

    [Fact]
    public void The_administrator_may_take_the_risk()
    {
        Assert.Null(InterruptLine.ObjectionTo(Device(shared: true, withMsi: false), new ConfigPolicy { AllowSharedLine = true }, out var keepSilent));
        Assert.False(keepSilent);
    }

    [Fact]
    public void Whatever_the_guest_does_a_silent_line_stays_silent_and_is_the_hosts_again_at_the_end()
    {
        var device = Device(shared: true, withMsi: true);
        var policy = new ConfigPolicy(Permissive: true, AllowInterruptControl: true) { KeepLineSilent = true };
        var record = new DeviceRecord();
        var (config, interrupts) = (new VirtualConfigSpace(device, policy, record), new MessageInterrupts(device, policy, new NoPirqs(), record));
        foreach (var command in (uint[])[0x0000, 0x0403, 0x0003, 0x0407, 0x0007])
        {
            config.Write(0x04, 2, command);
            interrupts.Perform(new PciRequest(PciOpCode.EnableMsi, 0, 0, 0, 0, 0, 0));
            interrupts.Perform(new PciRequest(PciOpCode.DisableMsi, 0, 0, 0, 0, 0, 0));
            Assert.Equal(IntxDisable, device.Peek(0x04, 2) & IntxDisable);
        }
        interrupts.Release();
        config.Release();
        Assert.Equal(0u, device.Peek(0x04, 2) & IntxDisable);
    }

    private sealed class NoPirqs : IPirqs
    {
        public int MapMsi(out Pirq pirq)
        {
            pirq = new Pirq(55);
            return 0;
        }

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq) => MapMsi(out pirq);

        public int Restore() => 0;

        public int Unmap(Pirq pirq) => 0;
    }
}
