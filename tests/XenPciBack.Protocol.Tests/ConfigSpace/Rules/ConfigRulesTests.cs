using CsCheck;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Tests.ConfigSpace.Rules;

/// <summary>What the rules decide, without a device: no write of any guest may lead to certain steps.</summary>
public class ConfigRulesTests
{
    private const int Command = 0x04, PowerControl = 0x54, MsiControl = 0x62, MsixControl = 0x72, Bar0 = 0x10;
    private const uint Decoding = 0x003, Master = 0x004, IntxDisable = 0x400;
    private const uint HostAddress = 0xFEB4_0000, PmeEnable = 0x0100;

    /// <summary>A function with a memory BAR of 128 KiB and all capabilities that have rules.</summary>
    private static ConfigRules RulesOf(ConfigPolicy policy)
    {
        var bar = new PciResource(HostAddress, HostAddress + 0x1_FFFF, 0x0004_0200);
        var function = new RegisterFile { Resources = [bar, .. new PciResource[6]] };
        function.Poke(0x3D, 1, 1).WithCapabilities((0x40, 0x03), (0x50, 0x01), (0x60, 0x05), (0x70, 0x11));
        return new ConfigRules(function, policy);
    }

    private static readonly Gen<ConfigPolicy> AnyPolicy =
        Gen.Select(Gen.Bool, Gen.Bool, Gen.Bool, (permissive, interrupts, silent) =>
            new ConfigPolicy(permissive, interrupts) { KeepLineSilent = silent });

    private static readonly Gen<Shadow> AnyShadow = Gen.Select(
        Gen.UShort, Gen.Bool, Gen.Bool, Gen.Byte,
        (command, isDecoding, isMaster, bars) => new Shadow(command, isDecoding, isMaster, bars));

    private static readonly Gen<uint> AnyValue = Gen.OneOf(Gen.UInt, Gen.Const(HostAddress), Gen.Const(uint.MaxValue));

    private static readonly Gen<AnyInput> AnyWrite = Gen.Select(
        AnyPolicy, AnyShadow, AnyValue, Gen.UInt, Gen.UInt.Nullable().Array[5],
        (policy, shadow, asked, device, needed) => new AnyInput(policy, shadow, asked, device, needed));

    private sealed record AnyInput(ConfigPolicy Policy, Shadow Shadow, uint Asked, uint Device, uint?[] Needed);

    /// <summary>Every step that any write to the register may lead to, those of both branches included.</summary>
    private static IEnumerable<ConfigStep> StepsOf(int offset, AnyInput write)
    {
        var rule = RulesOf(write.Policy).All.Single(rule => rule.Offset == offset);
        var mask = rule.Size == 2 ? 0xFFFFu : uint.MaxValue;
        var (asked, device) = (write.Asked & mask, write.Device & mask);
        var input = new ConfigRule.Write(asked, rule.Show(device, write.Shadow), device, write.Shadow);
        var needs = rule.Needs(input);
        // A register that is not needed is not read.
        var needed = new uint?[needs.Length];
        for (var i = 0; i < needs.Length; i++) needed[i] = needs[i].Size > 0 ? write.Needed[i] : null;
        return rule.Decide(input, needed).Steps.SelectMany(Flat);
    }

    private static IEnumerable<ConfigStep> Flat(ConfigStep step) =>
        step is ConfigStep.Branch branch ? branch.Same.Concat(branch.Other).SelectMany(Flat) : [step];

    /// <summary>The bits that a step clears in a register of the device.</summary>
    private static uint ClearedBy(ConfigStep step, int offset) => step switch
    {
        ConfigStep.Update(var at, _, var mask, var bits) when at == offset => mask & ~bits,
        ConfigStep.Write(var at, _, var value) when at == offset => ~value,
        _ => 0,
    };

    private static uint SetBy(ConfigStep step, int offset) => step switch
    {
        ConfigStep.Update(var at, _, var mask, var bits) when at == offset => mask & bits,
        ConfigStep.Write(var at, _, var value) when at == offset => value,
        _ => 0,
    };

    [Fact]
    public void XSA_120_No_write_switches_decoding_off_in_the_device() => AnyWrite.Sample(write =>
        Assert.All(StepsOf(Command, write), step => Assert.Equal(0u, ClearedBy(step, Command) & Decoding)));

    [Fact]
    public void No_write_enables_a_line_that_is_to_be_kept_silent() =>
        AnyWrite.Where(write => write.Policy.KeepLineSilent).Sample(write =>
            Assert.All(StepsOf(Command, write), step => Assert.Equal(0u, ClearedBy(step, Command) & IntxDisable)));

    [Fact]
    public void What_is_stored_of_bus_mastering_is_what_the_step_before_has_done() => AnyWrite.Sample(write =>
    {
        var isMaster = write.Shadow.IsBusMaster;
        foreach (var step in StepsOf(Command, write))
        {
            if (((ClearedBy(step, Command) | SetBy(step, Command)) & Master) != 0)
                isMaster = (SetBy(step, Command) & Master) != 0;
            if (step is ConfigStep.Remember(var shadow)) Assert.Equal(isMaster, shadow.IsBusMaster);
        }
    });

    [Fact]
    public void No_write_enables_a_pme() => AnyWrite.Sample(write =>
    {
        var steps = StepsOf(PowerControl, write with { Device = write.Device & ~PmeEnable });
        Assert.All(steps, step => Assert.Equal(0u, SetBy(step, PowerControl) & PmeEnable));
    });

    [Theory]
    [InlineData(MsiControl), InlineData(MsixControl)]
    public void Only_a_guest_that_is_trusted_with_interrupts_writes_message_control(int register) =>
        AnyWrite.Where(write => write.Policy is { Permissive: false, AllowInterruptControl: false })
            .Sample(write => Assert.Empty(StepsOf(register, write)));

    [Fact]
    public void A_bar_gets_no_address_in_the_device_but_the_hosts() => AnyWrite.Sample(write =>
        Assert.All(
            StepsOf(Bar0, write).OfType<ConfigStep.Update>(),
            step => Assert.Equal((Bar0, HostAddress), (step.Offset, step.Bits))));

    [Fact]
    public void A_decision_depends_on_nothing_but_its_input() => AnyWrite.Sample(write =>
    {
        foreach (var offset in (int[])[Command, PowerControl, MsiControl, MsixControl, Bar0])
            Assert.Equal(StepsOf(offset, write), StepsOf(offset, write));
    });

    [Fact]
    public void A_write_that_the_host_cannot_carry_out_is_answered_with_its_errno_and_stores_nothing()
    {
        var function = new RegisterFile { Resources = [new(0, 0xFFFF, 0x2000_0200), .. new PciResource[6]] };
        var command = new ConfigRules(function, new ConfigPolicy()).Command;
        var decision = command.Decide(new ConfigRule.Write(Asked: 0x0002, Shown: 0, Device: 0, default), new uint?[5]);
        Assert.Equal((PciOpError)(-22), decision.Error);
        Assert.Empty(decision.Steps);
    }
}
