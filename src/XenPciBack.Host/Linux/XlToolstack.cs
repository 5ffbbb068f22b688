using System.ComponentModel;
using System.Diagnostics;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>The toolstack is xl.</summary>
public sealed class XlToolstack : IToolstack
{
    /// <summary>Beyond the 10 s that xl gives a guest to let go of a device.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public Task<string?> DetachAsync(DomainId guest, HostBdf device) => RunAsync("pci-detach", guest.ToString(), device.ToString());

    /// <summary>
    /// <c>xl pci-assignable-add</c>: the host's driver gives the device up to the stub, xl remembers which one it was, and the hypervisor keeps the device
    /// from reaching memory.
    /// </summary>
    /// <returns>null, or what xl said when it failed.</returns>
    public static Task<string?> HideAsync(HostBdf device) => RunAsync("pci-assignable-add", device.ToString());

    /// <summary><c>xl pci-assignable-remove -r</c>: the driver that had the device before has it again.</summary>
    /// <returns>null, or what xl said when it failed.</returns>
    public static Task<string?> UnhideAsync(HostBdf device) => RunAsync("pci-assignable-remove", "-r", device.ToString());

    private static async Task<string?> RunAsync(string command, params string[] arguments)
    {
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            using var xl = Process.Start(new ProcessStartInfo("xl", [command, .. arguments]) { RedirectStandardError = true })!;
            try
            {
                var said = await xl.StandardError.ReadToEndAsync(patience.Token).ConfigureAwait(false);
                await xl.WaitForExitAsync(patience.Token).ConfigureAwait(false);
                return xl.ExitCode == 0 ? null : $"xl {command} ended with {xl.ExitCode}: {said.Trim()}";
            }
            catch (OperationCanceledException)
            {
                xl.Kill();
                return $"xl {command} was not done within {Patience.TotalSeconds} s";
            }
        }
        catch (Win32Exception e)
        {
            return $"xl cannot be started: {e.Message}";
        }
    }
}
