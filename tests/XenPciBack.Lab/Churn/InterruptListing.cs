using System.Text.RegularExpressions;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Churn;

/// <summary>
/// Every interrupt the hypervisor and dom0 have set up: Xen's IRQs with the domains bound to them, its message vectors, and dom0's
/// /proc/interrupts; without counts, and without what moves from run to run (vectors, affinities, states in flight).
/// </summary>
internal static partial class InterruptListing
{
    public static async Task<IReadOnlyList<string>> ReadAsync(DomainZero dom0)
    {
        var xen = await dom0.DebugKeysAsync("i", "M");
        var linux = await dom0.RunAsync("cat /proc/interrupts");
        return
        [
            .. xen.Split('\n').Select(line => XenIrq().Match(line)).Where(irq => irq.Success)
                .Select(irq => $"Xen IRQ {irq.Groups["irq"].Value} {irq.Groups["type"].Value} {Binding().Replace(irq.Groups["domains"].Value, "")}".TrimEnd()),
            .. xen.Split('\n').Select(line => XenMessage().Match(line)).Where(message => message.Success)
                .Select(message => $"Xen {message.Groups["kind"].Value} {message.Groups["irq"].Value}"),
            .. linux.Split('\n').Select(line => LinuxIrq().Match(line)).Where(irq => irq.Success)
                .Select(irq => $"dom0 IRQ {irq.Groups["irq"].Value} {irq.Groups["name"].Value}"),
        ];
    }

    [GeneratedRegex(@"IRQ: +(?<irq>\d+) (?:vec:\S+ )?(?<type>\S+).*?(?:in-flight=\d+ (?<domains>.*))?$", RegexOptions.CultureInvariant)]
    private static partial Regex XenIrq();

    /// <summary>The marks behind a domain's PIRQ: pending, masked, in service.</summary>
    [GeneratedRegex(@"\(.*?\)", RegexOptions.CultureInvariant)]
    private static partial Regex Binding();

    [GeneratedRegex(@"^\(XEN\) +(?<kind>MSI|MSI-X) +(?<irq>\d+) vec=", RegexOptions.CultureInvariant)]
    private static partial Regex XenMessage();

    [GeneratedRegex(@"^ *(?<irq>\d+):(?: +\d+)+ +(?<name>\S.*)$", RegexOptions.CultureInvariant)]
    private static partial Regex LinuxIrq();
}
