using System.Text;

namespace XenPciBack.Protocol.Aer;

/// <summary>How far the host's kernel has come with a function after an uncorrectable error.</summary>
public enum PciErrorStage
{
    BeginRecovery,
    SuccessfulRecovery,
    FailedRecovery,
}

/// <summary>The kernel object's event of a PCI function with ERROR_EVENT: it is the one that failed, or one below the same port.</summary>
/// <remarks>Linux drivers/pci/pci-driver.c, pci_uevent_ers; the datagram is lib/kobject_uevent.c's: "ACTION@PATH", then KEY=VALUE, each ended by a NUL.</remarks>
public sealed record PciErrorEvent(HostBdf Device, PciErrorStage Stage)
{
    /// <returns>null if the datagram is about something else.</returns>
    public static PciErrorEvent? TryParse(ReadOnlySpan<byte> datagram)
    {
        var fields = Encoding.ASCII.GetString(datagram).Split('\0');
        string? Value(string key) => fields.FirstOrDefault(field => field.StartsWith(key, StringComparison.Ordinal))?[key.Length..];
        PciErrorStage? stage = Value("ERROR_EVENT=") switch
        {
            "BEGIN_RECOVERY" => PciErrorStage.BeginRecovery,
            "SUCCESSFUL_RECOVERY" => PciErrorStage.SuccessfulRecovery,
            "FAILED_RECOVERY" => PciErrorStage.FailedRecovery,
            _ => null,
        };
        return stage is { } known && HostBdf.TryParse(Value("PCI_SLOT_NAME="), out var device) ? new PciErrorEvent(device, known) : null;
    }
}
