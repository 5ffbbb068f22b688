using System.CommandLine;
using Serilog;
using XenPciBack.Actors;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Hiding;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback hide</c>, <c>unhide</c> and <c>list</c>: which devices are the guests', and which the host's.</summary>
internal static class HideCommands
{
    // PCI Code and ID Assignment Specification: base class 06h.
    private const int BridgeClass = 0x06;

    public static Command Hide()
    {
        var devices = Devices();
        var force = new Option<bool>("--force") { Description = "Take a device away that the host is using" };
        var command = new Command("hide", """
            Set devices aside for guests: the host's drivers let go of them (xl pci-assignable-add). Refused for a device that
            the host itself is using, unless forced.
            """) { devices, force };
        command.SetAction((parse, _) => ForEachAsync(parse.GetValue(devices)!, device => HideAsync(device, parse.GetValue(force))));
        return command;
    }

    public static Command Unhide()
    {
        var devices = Devices();
        var command = new Command("unhide", "Give devices back to the host's drivers that had them (xl pci-assignable-remove -r)") { devices };
        command.SetAction((parse, _) => ForEachAsync(parse.GetValue(devices)!, UnhideAsync));
        return command;
    }

    public static Command List()
    {
        var config = ControlOptions.Config();
        var command = new Command("list", "The host's devices, but for bridges: which are set aside for guests, who has them, and what the host itself uses") { config };
        command.SetAction((parse, stop) => ListAsync(SettingsReader.Load(parse.GetValue(config)), stop));
        return command;
    }

    /// <summary>Hides what the settings and the kernel's command line name and nobody has hidden yet, but for what the host is using.</summary>
    public static async Task HideAtStartAsync(IEnumerable<HidePattern> fromSettings)
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

    private static async Task HideAsync(IEnumerable<HidePattern> fromSettings)
    {
        var fromKernel = HidePattern.Parse(HidePattern.OnCommandLine(await File.ReadAllTextAsync("/proc/cmdline")) ?? "", out var fault);
        if (fault is not null) Log.Warning("The kernel's command line: {Fault}", fault);
        HidePattern[] patterns = [.. fromSettings, .. fromKernel];
        if (patterns.Length == 0) return;
        var host = new SysfsPciHost();
        foreach (var device in host.Functions)
        {
            if (!patterns.Any(pattern => pattern.Covers(device, host.BridgesAbove(device))) || host.DriverOf(device) == SysfsPciHost.StubDriver) continue;
            if (new HostUse().Of(device) is [_, ..] uses) Log.Warning("{Bdf} is not hidden, because the host is using it: {Uses}; to take it away all the same: xenpciback hide {Bdf} --force", device, string.Join(", ", uses), device);
            else if (await XlToolstack.HideAsync(device) is { } failure) Log.Error("{Bdf} cannot be hidden: {Failure}", device, failure);
            else Log.Information("{Bdf} is hidden from the host", device);
        }
    }

    private static async Task<int> ListAsync(DaemonSettings settings, CancellationToken stop)
    {
        await using var store = await XenStoreClient.ConnectAsync(settings.XenStoreEndpoint, settings.XenStore, stop);
        var given = (await GuestDevices.ListAsync(store, settings.Backend.Domain)).ToLookup(device => device.Device);
        var quarantine = new Quarantine(LinuxXenHost.OpenLastingRecords()).Devices.ToLookup(quarantined => quarantined.Device);
        var (host, use) = (new SysfsPciHost(), new HostUse());
        foreach (var device in host.Functions)
        {
            if (host.IdentityOf(device) is not { } identity || identity.Class >> 16 == BridgeClass) continue;
            var driver = host.DriverOf(device);
            var state = given[device].FirstOrDefault() is { } guest ? $"guest {guest.Guest}"
                : quarantine[device].FirstOrDefault() is { } quarantined ? $"in quarantine since {quarantined.Since:u}"
                : driver == SysfsPciHost.StubDriver ? "hidden, for guests"
                : driver is null ? "no driver" : $"driver {driver}";
            Console.WriteLine($"{device}  {identity.Class >> 8:x4}  {identity.Vendor:x4}:{identity.Device:x4}  {string.Join("; ", [state, .. use.Of(device)])}");
        }
        return ExitCode.Success;
    }

    private static Argument<string[]> Devices() => new("BDF") { Description = "Devices, ssss:bb:dd.f", Arity = ArgumentArity.OneOrMore };

    private static async Task<int> ForEachAsync(string[] devices, Func<HostBdf, Task<string?>> act)
    {
        var exitCode = ExitCode.Success;
        foreach (var text in devices)
        {
            var fault = HostBdf.TryParse(text, out var device) ? await act(device) : "is no PCI address; expected ssss:bb:dd.f in hexadecimal";
            if (fault is not null) exitCode = ExitCode.Refuse($"{text}: {fault}", ExitCode.Failure);
        }
        return exitCode;
    }

    private static async Task<string?> HideAsync(HostBdf device, bool isForced)
    {
        var host = new SysfsPciHost();
        if (!host.Exists(device)) return "there is no such device";
        var driver = host.DriverOf(device);
        if (driver == SysfsPciHost.StubDriver) return Say($"{device} is hidden already.");
        if (!isForced && new HostUse().Of(device) is [_, ..] uses) return $"the host is using it: {string.Join(", ", uses)}; to take it away all the same: --force";
        return await XlToolstack.HideAsync(device) ?? Say($"{device} is hidden{(driver is null ? "" : $"; driver {driver} had it")}.");
    }

    private static async Task<string?> UnhideAsync(HostBdf device)
    {
        var host = new SysfsPciHost();
        if (!host.Exists(device)) return "there is no such device";
        if (host.DriverOf(device) != SysfsPciHost.StubDriver) return Say($"{device} is not hidden.");
        if (await XlToolstack.UnhideAsync(device) is { } fault) return fault;
        return Say($"{device} is the host's again{(host.DriverOf(device) is { } driver ? $", driver {driver} has it" : "")}.");
    }

    private static string? Say(string sentence)
    {
        Console.WriteLine(sentence);
        return null;
    }
}
