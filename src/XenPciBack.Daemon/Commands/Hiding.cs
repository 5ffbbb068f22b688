using Serilog;
using XenPciBack.Backend;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Daemon.Logging;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Hiding;

namespace XenPciBack.Daemon.Commands;

/// <summary>Sets devices aside for guests and gives them back to the host, but does not take from the host what it is using.</summary>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
/// <param name="hide">Has the toolstack set a device aside; null, or what it said when it failed.</param>
/// <param name="unhide">Has it give one back, likewise.</param>
internal sealed class Hiding(string root, Func<HostBdf, Task<string?>> hide, Func<HostBdf, Task<string?>> unhide)
{
    // PCI Code and ID Assignment Specification: base class 06h.
    private const int BridgeClass = 0x06;

    private readonly SysfsPciHost _host = new(root);
    private readonly HostUse _use = new(root);

    public static Hiding OnThisHost() => new("/", XlToolstack.HideAsync, XlToolstack.UnhideAsync);

    /// <summary>Hides what the settings and the kernel's command line name and nobody has hidden yet, but for what the host is using.</summary>
    public async Task AtStartAsync(IEnumerable<HidePattern> fromSettings)
    {
        try
        {
            await HideAsync(fromSettings);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Log.Error("Devices cannot be hidden: {Cause}", e.Message);
        }
    }

    private async Task HideAsync(IEnumerable<HidePattern> fromSettings)
    {
        var fromKernel = HidePattern.Parse(HidePattern.OnCommandLine(await File.ReadAllTextAsync(Path.Combine(root, "proc/cmdline"))) ?? "", out var fault);
        if (fault is not null) Log.Warning("The kernel's command line: {Fault}", fault);
        HidePattern[] patterns = [.. fromSettings, .. fromKernel];
        if (patterns.Length == 0) return;
        foreach (var device in _host.Functions)
        {
            if (!patterns.Any(pattern => pattern.Covers(device, _host.BridgesAbove(device))) || _host.DriverOf(device) == SysfsPciHost.StubDriver) continue;
            var log = Log.Logger.About(device);
            if (_use.Of(device) is [_, ..] uses)
                log.As(LogEvents.DeviceNotHidden)
                    .Warning("The device is not hidden, because the host is using it: {Uses}; "
                        + "to hide it all the same: xenpciback hide {Bdf} --force", string.Join(", ", uses), device);
            else if (await hide(device) is { } failure)
                log.As(LogEvents.DeviceNotHidden).Error("The device cannot be hidden: {Failure}", failure);
            else log.As(LogEvents.DeviceHidden).Information("The device is hidden from the host");
        }
    }

    /// <returns>A refusal; null if the device is hidden.</returns>
    public async Task<string?> HideAsync(HostBdf device, bool isForced)
    {
        if (!_host.Exists(device)) return "there is no such device";
        var driver = _host.DriverOf(device);
        if (driver == SysfsPciHost.StubDriver) return Say($"{device} is hidden already.");
        if (!isForced && _use.Of(device) is [_, ..] uses) return $"the host is using it: {string.Join(", ", uses)}; to take it away all the same: --force";
        return await hide(device) ?? Say($"{device} is hidden{(driver is null ? "" : $"; driver {driver} had it")}.");
    }

    /// <returns>A refusal; null if the device is not hidden any more.</returns>
    public async Task<string?> UnhideAsync(HostBdf device)
    {
        if (!_host.Exists(device)) return "there is no such device";
        if (_host.DriverOf(device) != SysfsPciHost.StubDriver) return Say($"{device} is not hidden.");
        if (await unhide(device) is { } fault) return fault;
        return Say($"{device} is the host's again{(_host.DriverOf(device) is { } driver ? $", driver {driver} has it" : "")}.");
    }

    /// <summary>A line for each of the host's devices but for bridges: whose it is, and what the host does with it.</summary>
    public IEnumerable<string> List(IEnumerable<GuestDevice> given, IEnumerable<QuarantinedDevice> quarantine)
    {
        var (byDevice, quarantined) = (given.ToLookup(device => device.Device), quarantine.ToLookup(lost => lost.Device));
        foreach (var device in _host.Functions)
        {
            if (_host.IdentityOf(device) is not { } identity || identity.Class >> 16 == BridgeClass) continue;
            var driver = _host.DriverOf(device);
            var state = byDevice[device].FirstOrDefault() is { } guest ? $"guest {guest.Guest}"
                : quarantined[device].FirstOrDefault() is { } lost ? $"in quarantine since {lost.Since:u}"
                : driver == SysfsPciHost.StubDriver ? "hidden, for guests"
                : driver is null ? "no driver" : $"driver {driver}";
            yield return $"{device}  {identity.Class >> 8:x4}  {identity.Vendor:x4}:{identity.Device:x4}  {string.Join("; ", [state, .. _use.Of(device)])}";
        }
    }

    private static string? Say(string sentence)
    {
        Console.WriteLine(sentence);
        return null;
    }
}
