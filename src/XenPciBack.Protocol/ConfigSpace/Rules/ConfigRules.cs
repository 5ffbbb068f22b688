using System.Collections.Immutable;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace.Rules;

/// <summary>The rules of one function, found by its header type and its capabilities when it is opened.</summary>
internal sealed class ConfigRules
{
    private const uint PmeEnable = 0x0100;

    private readonly List<ConfigRule> _all = [];

    /// <exception cref="NotSupportedException">The header type is neither 0 (device) nor 1 (bridge).</exception>
    public ConfigRules(IPciFunction function, ConfigPolicy policy)
    {
        var msi = CapabilityList.Find(function, CapabilityId.Msi);
        var msix = CapabilityList.Find(function, CapabilityId.Msix);
        Power = PowerManagement.Of(function);
        var hasLine = function.Read(Register.InterruptPin, 1, out var pin) == PciOpError.Success && pin != 0;
        var isExpress = CapabilityList.Find(function, CapabilityId.PciExpress) != 0;
        Command = new CommandRule(
            policy, new CommandFacts(function.Resources, function.CacheLineSize, hasLine, isExpress, Power, msi, msix));
        AddHeader(function);
        AddBars(function);
        AddCapabilities(function, policy, msi, msix);
        IgnoredQuirks = [.. policy.Quirks.Where(quirk => !Add(new QuirkRule(quirk)))];
    }

    /// <summary>In the order in which they are asked; no two begin at the same register.</summary>
    public List<ConfigRule> All => _all;

    public CommandRule Command { get; }

    public PowerManagement Power { get; }

    /// <summary>Quirks without effect, because a rule or another quirk starts at the same register.</summary>
    public ImmutableArray<ConfigQuirk> IgnoredQuirks { get; }

    /// <summary>What is done to the device when it is opened.</summary>
    public ImmutableArray<ConfigStep> Begin()
    {
        if (Power.Offset == 0) return Command.Begin();
        var disablePme = new ConfigStep.Update(Power.ControlOffset, 2, PmeEnable, 0) { Failure = StepFailure.Ignored };
        return [.. Command.Begin(), disablePme];
    }

    public ImmutableArray<ConfigStep> SwitchMessagesOff() =>
        [.. _all.OfType<MessageControlRule>().Select(rule => rule.Release())];

    private void AddHeader(IPciFunction function)
    {
        Add(new HostValueRule(Register.VendorId, 2, function.VendorId));
        Add(new HostValueRule(Register.DeviceId, 2, function.DeviceId));
        Add(Command);
        Add(new InterruptLineRule());
        Add(new ConfigRule(Register.InterruptPin, 1));
        Add(new OpenRule(Register.CacheLineSize, 1));
        Add(new ConfigRule(Register.LatencyTimer, 1));
        Add(new BistRule());
    }

    private void AddBars(IPciFunction function)
    {
        function.Read(Register.HeaderType, 1, out var headerType);
        var (bars, rom) = (headerType & 0x7F) switch
        {
            0 => (6, Register.Rom),
            1 => (2, Register.RomOfBridge),
            var other => throw new NotSupportedException(
                $"{function.Bdf}: header type {other} cannot be given to a guest; expected 0 (device) or 1 (bridge)"),
        };
        for (var i = 0; i < bars; i++) Add(new BarRule(Register.Bar0 + 4 * i, i, function.Resources));
        Add(new BarRule(rom, BarRule.RomResource, function.Resources));
    }

    private void AddCapabilities(IPciFunction function, ConfigPolicy policy, int msi, int msix)
    {
        var vpd = CapabilityList.Find(function, CapabilityId.VitalProductData);
        AddCapability(vpd, at => [new VpdAddressRule(at + 2), new ConfigRule(at + 4, 4)]);
        AddCapability(Power.Offset, at =>
        [
            new PowerCapabilitiesRule(at + 2), new PowerControlRule(Power),
            new ConfigRule(at + 6, 1), new ConfigRule(at + 7, 1),
        ]);
        AddCapability(msi, _ => [MessageControlRule.OfMsi(policy, msi, msix)]);
        AddCapability(msix, _ => [MessageControlRule.OfMsix(policy, msi, msix)]);
    }

    private void AddCapability(int at, Func<int, ConfigRule[]> rules)
    {
        if (at == 0) return;
        Add(new ConfigRule(at, 2));
        foreach (var rule in rules(at)) Add(rule);
    }

    private bool Add(ConfigRule rule)
    {
        if (_all.Exists(other => other.Offset == rule.Offset)) return false;
        _all.Add(rule);
        return true;
    }
}
