using System.CommandLine;
using System.Globalization;
using System.Text;
using XenPciBack.Backend.Status;
using XenPciBack.Daemon.Control;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback config</c>: a device's registers as its guest sees them, beside what the device has.</summary>
internal static class ConfigCommand
{
    public static Command Create()
    {
        var guest = new Argument<string>("GUEST") { Description = "A guest's domain id or name" };
        var device = new Argument<string>("BDF") { Description = "Its device on the host, as ssss:bb:dd.f" };
        var json = new Option<bool>("--json") { Description = "A line of JSON, with every register" };
        var (socket, config) = (ControlOptions.Socket(), ControlOptions.Config());
        var command = new Command("config", """
            Show the named registers of a guest's device: what the guest reads, what the device has where that differs, and the
            rule. All its registers are read, for which an operation of the guest may have to wait some milliseconds.
            """) { guest, device, json, socket, config };
        command.SetAction((parse, stop) => HostBdf.TryParse(parse.GetValue(device), out var bdf)
            ? ControlOptions.AskOnceAsync(ControlOptions.PathIn(parse, socket, config), new ControlRequest(ConfigView: new DeviceOfGuest(parse.GetValue(guest)!, bdf)),
                answer => Console.Write(parse.GetValue(json) ? Encoding.UTF8.GetString(ControlJson.Line(answer.ConfigView)) : TextOf(answer.ConfigView!)), stop)
            : Task.FromResult(ExitCode.Refuse($"'{parse.GetValue(device)}' is no PCI address; expected ssss:bb:dd.f in hexadecimal", ExitCode.Failure)));
        return command;
    }

    private static string TextOf(ConfigView view)
    {
        var text = new StringBuilder();
        foreach (var field in view.Fields)
        {
            var (guest, device) = (Hex(view.Guest.AsSpan(field.Offset, field.Size)), Hex(view.Device.AsSpan(field.Offset, field.Size)));
            text.Append(CultureInfo.InvariantCulture, $"{field.Offset:x3}/{field.Size,-3} {field.Name,-44} {guest}");
            if (guest != device) text.Append(CultureInfo.InvariantCulture, $", the device has {device}");
            if (field.Rule is not null) text.Append(CultureInfo.InvariantCulture, $" ({field.Rule})");
            text.AppendLine();
        }
        return text.ToString();
    }

    // A register is a number, the lowest byte first; longer ones are bytes.
    private static string Hex(ReadOnlySpan<byte> bytes)
    {
        var digits = bytes.ToArray();
        if (digits.Length <= 4) Array.Reverse(digits);
        return Convert.ToHexStringLower(digits);
    }
}
