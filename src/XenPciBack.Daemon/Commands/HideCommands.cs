using System.CommandLine;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Host.Linux;
using XenPciBack.Protocol;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback hide</c>, <c>unhide</c> and <c>list</c>: which devices are the guests', and which the host's.</summary>
internal static class HideCommands
{
    public static Command Hide()
    {
        var devices = Devices();
        var force = new Option<bool>("--force") { Description = "Take a device away that the host is using" };
        var command = new Command("hide", """
            Set devices aside for guests: the host's drivers let go of them (xl pci-assignable-add). Refused for a device that
            the host itself is using, unless forced.
            """) { devices, force };
        command.SetAction((parse, _) => ForEachAsync(parse.GetValue(devices)!, device => Hiding.OnThisHost().HideAsync(device, parse.GetValue(force))));
        return command;
    }

    public static Command Unhide()
    {
        var devices = Devices();
        var command = new Command("unhide", "Give devices back to the host's drivers that had them (xl pci-assignable-remove -r)") { devices };
        command.SetAction((parse, _) => ForEachAsync(parse.GetValue(devices)!, Hiding.OnThisHost().UnhideAsync));
        return command;
    }

    public static Command List()
    {
        var config = ControlOptions.Config();
        var command = new Command("list", "The host's devices, but for bridges: which are set aside for guests, who has them, and what the host itself uses") { config };
        command.SetAction((parse, stop) => ListAsync(SettingsReader.Load(parse.GetValue(config)), stop));
        return command;
    }

    private static async Task<int> ListAsync(DaemonSettings settings, CancellationToken stop)
    {
        await using var store = await XenStoreClient.ConnectAsync(settings.XenStoreEndpoint, settings.XenStore, stop);
        var given = await GuestDevices.ListAsync(store, settings.Backend.Domain);
        var quarantine = new Quarantine(LinuxXenHost.OpenLastingRecords()).Devices;
        foreach (var line in Hiding.OnThisHost().List(given, quarantine)) Console.WriteLine(line);
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
}
